use super::*;

const MISTRAL: &str = "mistral";

fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, ..Usage::default() }
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a number")
}

fn money(text: &str) -> Money {
    Money::from_decimal(decimal(text)).expect("small")
}

fn price(model: &str) -> Price {
    Catalogue::default().card(MISTRAL, model).price.expect("a known price")
}

/// As Mistral's price list of November 2024 had it.
fn price_of_2024(model: &str) -> Price {
    let oldest = built_in::prices(MISTRAL, model).into_iter().next().expect("a known price");
    assert_eq!(oldest.read_on, "2024-11");
    oldest
}

#[test]
fn the_examples_of_2024_come_out_to_the_cent_of_a_cent() {
    let examples = [
        ("mistral-large-latest", 100, 200, "0.002800"),
        ("mistral-large-latest", 1000, 2000, "0.028000"),
        ("mistral-large-latest", 10_000, 20_000, "0.280000"),
        ("mistral-small-latest", 100, 200, "0.000700"),
        ("mistral-small-latest", 1000, 2000, "0.007000"),
        ("mistral-small-latest", 10_000, 20_000, "0.070000"),
        ("open-mixtral-8x7b", 100, 200, "0.000210"),
        ("open-mixtral-8x7b", 1000, 2000, "0.002100"),
        ("open-mixtral-8x7b", 10_000, 20_000, "0.021000"),
        ("open-mistral-7b", 100, 200, "0.000075"),
        ("open-mistral-7b", 1000, 2000, "0.000750"),
        ("open-mistral-7b", 10_000, 20_000, "0.007500"),
        ("mistral-large-latest", 35, 245, "0.003080"),
        // The reference prints 0.046080 here. That is a slip: its own formula gives 0.005000 and 0.041040.
        ("mistral-large-latest", 1250, 3420, "0.046040"),
    ];
    for (model, input, output, cost) in examples {
        assert_eq!(price_of_2024(model).cost(&usage(input, output)), money(cost), "{model} {input} {output}");
    }
}

#[test]
fn the_price_list_of_2024_is_kept() {
    let list = [
        ("open-mistral-7b", "0.25", "0.25", 32_768),
        ("open-mixtral-8x7b", "0.70", "0.70", 32_768),
        ("open-mixtral-8x22b", "2.00", "6.00", 65_536),
        ("mistral-tiny-2312", "0.25", "0.25", 32_768),
        ("mistral-small-2312", "0.70", "0.70", 32_768),
        ("mistral-small-2402", "1.00", "3.00", 32_768),
        ("mistral-large-2402", "4.00", "12.00", 32_768),
        ("mistral-large-2407", "4.00", "12.00", 32_768),
    ];
    for (model, input, output, context_tokens) in list {
        let card = Catalogue::default().card(MISTRAL, model);
        assert_eq!(card.context_tokens, Some(context_tokens), "{model}");
        let price = card.price.expect("a known price");
        assert_eq!((price.input, price.output), (decimal(input), decimal(output)), "{model}");
        assert_eq!((price.cached_input, &*price.read_on), (price.input, "2024-11"), "{model}");
    }
    let medium = price_of_2024("mistral-medium-latest");
    assert_eq!((medium.input, medium.output), (decimal("2.7"), decimal("8.1")));
}

#[test]
fn where_two_rows_name_a_model_the_newer_applies() {
    let list = [
        ("mistral-large-latest", "0.5", "0.05", "1.5"),
        ("mistral-medium-latest", "1.5", "0.15", "7.5"),
        ("mistral-small-latest", "0.15", "0.015", "0.6"),
    ];
    for (model, input, cached_input, output) in list {
        let price = price(model);
        let read = (price.input, price.cached_input, price.output);
        assert_eq!(read, (decimal(input), decimal(cached_input), decimal(output)), "{model}");
        assert_eq!(price.read_on, "2026-08-13");
        assert_eq!(Catalogue::default().card(MISTRAL, model).context_tokens, Some(262_144));
        assert_eq!(built_in::prices(MISTRAL, model).len(), 2, "{model}");
    }
}

#[test]
fn a_name_means_the_model_of_its_newest_row() {
    let catalogue = Catalogue::default();
    let large = ["mistral-large-2512", "mistral-large-latest"];
    let medium = ["mistral-medium-3-5", "mistral-medium-3", "mistral-medium-latest"];
    for (model, names) in [
        ("mistral-large-latest", &large[..]),
        ("mistral-large-2512", &large),
        ("mistral-medium-3", &medium),
        // What it was once called is another model now.
        ("mistral-large-2407", &["mistral-large-2407"]),
        ("devstral-small-2507", &["devstral-small-2507"]),
        ("mistral-large-9999", &[]),
    ] {
        assert_eq!(catalogue.names(MISTRAL, model), names, "{model}");
    }
    assert!(catalogue.names("openai", "mistral-large-latest").is_empty());
    for (provider, model, _) in built_in::every_name() {
        let names = catalogue.names(provider, model);
        assert!(names.contains(&model), "{provider}/{model}");
        assert!(names.iter().all(|name| catalogue.names(provider, name) == names), "{provider}/{model}");
    }
}

#[test]
fn previews_cost_what_is_charged_and_say_that_it_may_change() {
    let preview = price("mistral-large-4");
    assert_eq!(
        (preview.input, preview.cached_input, preview.output),
        (decimal("0.68"), decimal("0.068"), decimal("2.09"))
    );
    assert!(preview.provisional);
    let deepseek = price("deepseek-v4-1-flash-1017");
    assert_eq!((deepseek.cached_input, deepseek.provisional), (decimal("0.007"), true));
    assert!(!price("mistral-large-2512").provisional);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let catalogue = Catalogue::default();
    let unknown = [
        (MISTRAL, "mistral-large-9999"),
        (MISTRAL, "mistral-large"),
        ("openai", "mistral-large-latest"),
        (MISTRAL, ""),
    ];
    for (provider, model) in unknown {
        assert_eq!(catalogue.card(provider, model), Card::default(), "{provider}/{model}");
    }
    let retired = catalogue.card(MISTRAL, "mistral-large-2411");
    assert_eq!(retired, Card { retires_on: Some("2026-05-31"), ..Card::default() });
    let free = catalogue.card(MISTRAL, "labs-leanstral-1-5").price.expect("free is a price");
    assert_eq!(free.cost(&usage(1_000_000, 1_000_000)), Money::ZERO);
}

#[test]
fn each_model_of_the_stand_in_has_a_made_up_price() {
    for model in ["offline-small", "offline-large", "offline-reasoning"] {
        let card = Catalogue::default().card("offline", model);
        assert!(card.price.is_some() && card.context_tokens.is_some(), "{model}");
    }
    let small = Catalogue::default().card("offline", "offline-small");
    assert_eq!(small.context_tokens, Some(32_768));
    let price = small.price.expect("made up");
    assert_eq!(price.cost(&usage(1_000_000, 1_000_000)), money("4"));
    assert!(price.connectors.is_empty());
}

#[test]
fn the_configuration_says_the_last_word() {
    let own = Price {
        input: decimal("9"),
        cached_input: decimal("8"),
        output: decimal("7"),
        connectors: BTreeMap::new(),
        read_on: "2026-11-01".into(),
        provisional: false,
    };
    let said = |context_tokens, price| Override { context_tokens, price };
    let row = |provider: &str, model: &str, said| (provider.to_owned(), model.to_owned(), said);
    let catalogue = Catalogue::new(vec![
        row(MISTRAL, "mistral-large-latest", said(None, Some(own.clone()))),
        row(MISTRAL, "mistral-small-latest", said(Some(1), None)),
        row("vllm", "qwen", said(Some(2), None)),
        row("vllm", "qwen", said(Some(3), Some(own.clone()))),
    ]);
    let large = catalogue.card(MISTRAL, "mistral-large-latest");
    assert_eq!((large.context_tokens, large.price.as_ref()), (Some(262_144), Some(&own)));
    let small = catalogue.card(MISTRAL, "mistral-small-latest");
    assert_eq!((small.context_tokens, small.price), (Some(1), Some(price("mistral-small-latest"))));
    let qwen = catalogue.card("vllm", "qwen");
    assert_eq!(qwen, Card { context_tokens: Some(3), context_is_configured: true, price: Some(own), retires_on: None });
    assert_eq!(catalogue.card(MISTRAL, "qwen"), Card::default());
}

#[test]
fn cached_tokens_and_connectors_are_charged_apart() {
    let price = price("mistral-large-2512");
    let calls = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
    let rows = [
        (Usage { cached_tokens: 600_000, ..usage(1_000_000, 0) }, "0.23"),
        // Not believed: everything was cached, no more.
        (Usage { cached_tokens: 5_000_000, ..usage(1_000_000, 0) }, "0.05"),
        (Usage { connector_tokens: 1_000_000, ..usage(0, 0) }, "0.5"),
        (Usage { connector_calls: calls("web_search", 1000), ..usage(0, 0) }, "30"),
        (Usage { connector_calls: calls("web_search_premium", 1), ..usage(0, 1_000_000) }, "1.55"),
        (Usage { connector_calls: calls("code_interpreter", 7), ..usage(0, 0) }, "0"),
        // Thinking is a part of the completion, and the total is only a sum.
        (Usage { reasoning_tokens: 900_000, total_tokens: 7, ..usage(0, 1_000_000) }, "1.5"),
    ];
    for (usage, cost) in rows {
        assert_eq!(price.cost(&usage), money(cost), "{usage:?}");
    }
}

#[test]
fn one_token_is_exact_and_absurd_usage_is_only_a_large_amount() {
    let cheap = price("deepseek-v4-1-flash-1017");
    let one_cached = Usage { cached_tokens: 1, ..usage(1, 0) };
    assert_eq!(cheap.cost(&one_cached), Money::new(0, 7_000));
    let absurd = Usage {
        prompt_tokens: u64::MAX,
        completion_tokens: u64::MAX,
        total_tokens: 0,
        cached_tokens: u64::MAX,
        reasoning_tokens: u64::MAX,
        connector_tokens: u64::MAX,
        connector_calls: BTreeMap::from([("web_search".to_owned(), u64::MAX)]),
        estimated: false,
    };
    assert!(cheap.cost(&absurd) > Money::new(1_000_000_000_000, 0));
    let dear = Price { output: Decimal::MAX, ..cheap };
    assert_eq!(dear.cost(&absurd), Money::new(i64::MAX, 999_999_999_999));
}

/// Two rows of one day for one name would leave it to chance which applies.
#[test]
fn the_rows_of_a_name_differ_in_their_dates() {
    for (provider, model, read_on) in built_in::every_name() {
        let of_that_day = built_in::every_name().filter(|other| *other == (provider, model, read_on)).count();
        assert_eq!(of_that_day, 1, "{provider}/{model} {read_on}");
        let is_date = read_on.len() >= 7 && read_on.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        assert!(is_date, "{provider}/{model} {read_on}");
    }
}
