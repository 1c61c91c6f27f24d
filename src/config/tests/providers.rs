//! Providers: the built-in one and those that the file adds.

use super::*;

const TWO: &str = r#"
default_provider = "openai"
fallback_models = ["mistral/mistral-small-latest", "meta/llama-4"]

[providers.mistral]
requests_per_minute = 60

[providers.openai]
dialect = "openai"
base_url = "https://api.openai.com/v1/"
key_env = "OPENAI_API_KEY"
max_tokens_field = "max_tokens"
caller_keys = true
connect_timeout = "1s"
first_byte_timeout = "2s"
idle_timeout = "3s"
answer_timeout = "4s"
max_concurrent = 5
max_waiting = 0
requests_per_minute = 7
tokens_per_minute = 8
headers = { "OpenAI-Organization" = "org-not-to-be-shown", x-team = "a b" }
"#;

/// A provider `x` with an address and these lines.
fn provider(lines: &str) -> Sources {
    file(&format!("[providers.x]\nbase_url = \"http://x\"\n{lines}"))
}

#[test]
fn the_built_in_provider_needs_no_section() {
    let config = Config::default();
    let [mistral] = config.providers.as_slice() else { panic!("{:?}", config.providers) };
    assert_eq!(config.default_provider(), mistral);
    let expected = Provider {
        name: "mistral".into(),
        dialect: Dialect::Mistral,
        max_tokens_field: None,
        base_url: "https://api.mistral.ai".into(),
        key: KeySource::Missing { variable: Some("MISTRAL_API_KEY".into()) },
        key_header: KeyHeader::Bearer,
        caller_keys: false,
        headers: ::http::HeaderMap::new(),
        connect_timeout: Duration::from_secs(10),
        first_byte_timeout: Duration::from_secs(120),
        idle_timeout: Duration::from_secs(60),
        answer_timeout: Duration::from_secs(300),
        max_concurrent: 4096,
        max_waiting: 1024,
        requests_per_minute: None,
        tokens_per_minute: None,
        models: BTreeMap::new(),
    };
    assert_eq!(*mistral, expected);
}

#[test]
fn a_section_adds_a_provider_and_changes_the_built_in_one() {
    let config = Config::load(&file(TWO)).expect("all values are right");
    let [mistral, openai] = config.providers.as_slice() else { panic!("{:?}", config.providers) };
    assert_eq!((mistral.name.as_str(), mistral.requests_per_minute), ("mistral", Some(60)));
    assert_eq!(config.default_provider(), openai);
    // A part before the slash that is no provider belongs to the model's name.
    assert_eq!(config.fallback_models, ["mistral/mistral-small-latest", "meta/llama-4"]);
    assert_eq!((openai.dialect, openai.base_url.as_str()), (Dialect::OpenAi, "https://api.openai.com/v1"));
    assert_eq!(openai.max_tokens_field, Some(MaxTokensField::MaxTokens));
    let seconds = [openai.connect_timeout, openai.first_byte_timeout, openai.idle_timeout, openai.answer_timeout];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [1, 2, 3, 4]);
    assert_eq!((openai.max_concurrent, openai.max_waiting, openai.caller_keys), (5, 0, true));
    assert_eq!((openai.requests_per_minute, openai.tokens_per_minute), (Some(7), Some(8)));
    assert_eq!(openai.headers["openai-organization"], "org-not-to-be-shown");
    assert_eq!(openai.headers["x-team"], "a b");
    assert!(!format!("{config:?}").contains("org-not-to-be-shown"));
}

#[test]
fn variables_reach_the_settings_of_a_provider_of_the_file() {
    let sources = file("[providers.my-vllm]\nkey_header = \"none\"").with_variables(variables(&[
        ("CAUSERIE_PROVIDERS_MY_VLLM_BASE_URL", "http://vllm:8000/v1"),
        ("CAUSERIE_PROVIDERS_MY_VLLM_MAX_CONCURRENT", "3"),
    ]));
    let config = Config::load(&sources).expect("all values are right");
    let vllm = &config.providers[1];
    assert_eq!((vllm.base_url.as_str(), vllm.max_concurrent), ("http://vllm:8000/v1", 3));
    let misspelt = file("[providers.x]\nbase_url = \"http://x\"\nkey_header = \"none\"")
        .with_variables(variables(&[("CAUSERIE_PROVIDERS_X_MAX_WAITNG", "3")]));
    assert_eq!(faults(misspelt), ["CAUSERIE_PROVIDERS_X_MAX_WAITNG is not known; CAUSERIE_PROVIDERS_X_MAX_WAITING is"]);
}

#[test]
fn addresses_of_every_form() {
    for (text, kept) in [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("https://x/v1/chat/completions", "https://x/v1/chat/completions"),
        ("https://x/openai/", "https://x/openai"),
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
    ] {
        let config = Config::load(&flags(&[("providers.mistral.base_url", text)])).expect("it is an address");
        assert_eq!(config.default_provider().base_url, kept);
    }
}

#[test]
fn faults_of_a_provider_name_line_and_key() {
    let cases = [
        (
            file("[providers.x]\nkey_header = \"none\""),
            "providers.x (causerie.toml, line 1) has no base_url, which must be http",
        ),
        (
            file("[providers.Big]\nbase_url = \"http://x\"\nkey_header = \"none\""),
            "providers.Big (causerie.toml, line 1) is no name of a provider; it must be 1 to 32 characters, each of a-z",
        ),
        (
            file("[providers.\"a/b\"]\nbase_url = \"http://x\"\nkey_header = \"none\""),
            "providers.\"a/b\" (causerie.toml, line 1) is no name of a provider",
        ),
        (file("[providers]\nx = 1"), "providers.x (causerie.toml, line 2) is not a setting"),
        (file("providers = 1"), "providers (causerie.toml, line 1) is a section, not a value: write [providers]"),
        (
            provider("key_header = \"none\"\nmax_tokens_field = \"tokens\""),
            "providers.x.max_tokens_field (causerie.toml, line 4) is \"tokens\"; it must be max_tokens or max_completion_tokens",
        ),
        (
            file("providers.mistral.max_tokens_field = \"max_completion_tokens\""),
            "providers.mistral.max_tokens_field (causerie.toml, line 1) cannot be max_completion_tokens where dialect is mistral",
        ),
        (
            provider("key_header = \"none\"\nmax_wating = 1"),
            "providers.x.max_wating (causerie.toml, line 4) is not a setting; the nearest one is providers.x.max_waiting",
        ),
        (
            provider("key_header = \"none\"\nheaders = 1"),
            "providers.x.headers (causerie.toml, line 4) is a section, not a",
        ),
        (
            provider("key_header = \"none\"\nheaders = { \"a b\" = \"c\" }"),
            "providers.x.headers.\"a b\" (causerie.toml, line 4) is no name of a header",
        ),
        (
            provider("key_header = \"none\"\nheaders = { Authorization = \"Bearer not-to-be-shown\" }"),
            "providers.x.headers.Authorization (causerie.toml, line 4) cannot be set here: keys come from",
        ),
        (
            provider("key_header = \"none\"\nheaders = { X-A = \"a\", x-a = \"b\" }"),
            "providers.x.headers.x-a (causerie.toml, line 4) is set twice",
        ),
        (
            provider("key_header = \"none\"\nheaders = { a = \"not-to-be-shown\\n\" }"),
            "providers.x.headers.a (causerie.toml, line 4) must be a text of visible ASCII characters",
        ),
    ];
    for (sources, start) in cases {
        let found = faults(sources);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
        assert!(!found[0].contains("not-to-be-shown"), "{found:?}");
    }
}

#[test]
fn the_faults_of_all_providers_come_at_once() {
    let text =
        "default_provider = \"c\"\n[providers.a]\n[providers.b]\nbase_url = \"b\"\nkey_header = \"none\"\nx = 1\n";
    let found = faults(file(text));
    let starts = [
        "providers.a (causerie.toml, line 2) has no base_url",
        "providers.a (causerie.toml, line 2) has no key: set key_env, key_file or key_command; or key_header = \"none\"",
        "providers.b.base_url (causerie.toml, line 4) is \"b\"; it must be http:// or https://",
        "default_provider (causerie.toml, line 1) is \"c\", which is not configured; a is",
        "providers.b.x (causerie.toml, line 6) is not a setting",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}
