//! What the file says about models: windows, prices, limits, fallback.

use rust_decimal::Decimal;

use super::*;

fn dollars(text: &str) -> Decimal {
    text.parse().expect("a decimal number")
}

/// A model `m.1` of Mistral with these lines.
fn model(lines: &str) -> Sources {
    file(&format!("[providers.mistral.models.\"m.1\"]\n{lines}"))
}

#[test]
fn a_model_is_read_whole_under_a_name_with_dots_and_slashes() {
    let text = r#"
[providers.or]
base_url = "https://openrouter.ai/api/v1"
key_env = "OPENROUTER_API_KEY"
[providers.or.models."openai/gpt-4.1-mini"]
context_tokens = 1_047_576
input_price = "0.40"
cached_input_price = 0.1
output_price = 1.60
connector_prices = { web_search = "0.03", ocr = 1 }
requests_per_minute = 500
tokens_per_minute = 200_000
fallback_models = ["mistral/mistral-small-latest", "or/x"]
[providers.or.models.plain]
[providers.mistral.models."mistral-small-latest"]
input_price = 0
output_price = "0.0028"
fallback_models = []
"#;
    let config = Config::load(&file(text)).expect("all values are right");
    let [mistral, or] = config.providers.as_slice() else { panic!("{:?}", config.providers) };
    let price = Price {
        input: dollars("0.4"),
        cached_input: dollars("0.1"),
        output: dollars("1.6"),
        connectors: BTreeMap::from([("ocr".into(), dollars("1")), ("web_search".into(), dollars("0.03"))]),
    };
    let expected = Model {
        context_tokens: Some(1_047_576),
        price: Some(price),
        requests_per_minute: Some(500),
        tokens_per_minute: Some(200_000),
        fallback_models: Some(vec!["mistral/mistral-small-latest".into(), "or/x".into()]),
    };
    assert_eq!(or.models["openai/gpt-4.1-mini"], expected);
    let nothing = Model {
        context_tokens: None,
        price: None,
        requests_per_minute: None,
        tokens_per_minute: None,
        fallback_models: None,
    };
    assert_eq!(or.models["plain"], nothing);
    let small = &mistral.models["mistral-small-latest"];
    let price = small.price.as_ref().expect("it has one");
    assert_eq!((price.input, price.cached_input, price.output), (Decimal::ZERO, Decimal::ZERO, dollars("0.0028")));
    // A list of its own that is empty is not the same as none.
    assert_eq!(small.fallback_models, Some(vec![]));
}

#[test]
fn a_number_keeps_all_its_decimals() {
    let config = Config::load(&model("input_price = 0.0001\noutput_price = 999999.9999")).expect("right");
    let price = config.providers[0].models["m.1"].price.clone().expect("it has one");
    assert_eq!((price.input.to_string(), price.output.to_string()), ("0.0001".into(), "999999.9999".into()));
}

#[test]
fn faults_of_a_model_name_line_and_key() {
    let place = "providers.mistral.models.\"m.1\"";
    let cases = [
        ("context_tokens = 0", ".context_tokens (causerie.toml, line 2) is \"0\"; it must be a whole number from 1"),
        (
            "input_price = \"free\"\noutput_price = 1",
            ".input_price (causerie.toml, line 2) is \"free\"; it must be an amount",
        ),
        (
            "input_price = 0.00001\noutput_price = 1",
            ".input_price (causerie.toml, line 2) is \"0.00001\"; it must be an amount",
        ),
        ("input_price = -1\noutput_price = 1", ".input_price (causerie.toml, line 2) is \"-1\"; it must be an amount"),
        (
            "input_price = 1e2\noutput_price = 1",
            ".input_price (causerie.toml, line 2) is \"1e2\"; it must be an amount",
        ),
        ("input_price = 1000001\noutput_price = 1", ".input_price (causerie.toml, line 2) is \"1000001\"; it must be"),
        ("input_price = 1", " (causerie.toml, line 1) has a price, but no output_price"),
        ("output_price = 1", " (causerie.toml, line 1) has a price, but no input_price"),
        ("cached_input_price = 1", " (causerie.toml, line 1) has a price, but no input_price"),
        ("connector_prices = { a = 1 }", " (causerie.toml, line 1) has a price, but no input_price"),
        ("connector_prices = 1", ".connector_prices (causerie.toml, line 2) is a section, not a value"),
        (
            "input_prise = 1",
            ".input_prise (causerie.toml, line 2) is not a setting; the nearest one is providers.mistral.models.\"m.1\".input_price",
        ),
        ("requests_per_minute = 0", ".requests_per_minute (causerie.toml, line 2) is \"0\"; it must be a whole number"),
        (
            "tokens_per_minute = \"many\"",
            ".tokens_per_minute (causerie.toml, line 2) is \"many\"; it must be a whole number",
        ),
        ("fallback_models = [\"\"]", ".fallback_models (causerie.toml, line 2) is \"\"; it must be a model's name"),
    ];
    for (lines, rest) in cases {
        let found = faults(model(lines));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{place}{rest}")), "{lines}: {found:?}");
    }
    let found = faults(file("[providers.mistral.models.\"a b\"]"));
    assert!(found[0].contains("models.\"a b\" (causerie.toml, line 1) is no name of a model"), "{found:?}");
}
