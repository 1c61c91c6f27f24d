mod agents;
mod budgets;
mod keys;
mod mcp;
mod models;
mod providers;
mod tools;

use std::{collections::BTreeMap, ffi::OsString, path::Path, time::Duration};

use super::*;

fn flags(pairs: &[(&str, &str)]) -> Sources {
    Sources::from_flags(pairs.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect::<BTreeMap<_, _>>())
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, text)| (name.into(), text.into())).collect()
}

fn faults(sources: Sources) -> Vec<String> {
    let error = Config::load(&sources).expect_err("the sources are wrong");
    error.problems.iter().map(ToString::to_string).collect()
}

fn file(text: &str) -> Sources {
    Sources::default().with_file(Path::new("causerie.toml"), text)
}

#[test]
fn every_default_keeps_its_own_rule() {
    let config = Config::default();
    assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.store.cache_bytes, 256 << 20);
    assert_eq!(config.turns.timeout, Duration::from_secs(600));
    assert_eq!(config.limits.message_bytes, 4 << 20);
    assert_eq!(config.retry.max_attempts, 4);
    assert_eq!(config.retry.base_delay, Duration::from_millis(500));
    assert_eq!((config.retry.max_delay, config.retry.max_elapsed), (Duration::from_secs(30), Duration::from_secs(60)));
    let breaker = Breaker {
        enabled: true,
        failure_rate: 0.5,
        min_calls: 10,
        window: Duration::from_secs(30),
        open: Duration::from_secs(15),
    };
    assert_eq!(config.breaker, breaker);
    assert_eq!((config.fallback_models, config.budgets), (vec![], vec![]));
}

#[test]
fn the_first_source_that_names_a_value_wins() {
    let text = "[store]\npath = \"file\"\ncache_mib = 32\nsync = false\n";
    let sources = flags(&[("store.path", "flag")])
        .with_variables(variables(&[("CAUSERIE_STORE_PATH", "variable"), ("CAUSERIE_STORE_CACHE_MIB", "64")]))
        .with_file(Path::new("causerie.toml"), text);
    let config = Config::load(&sources).expect("all values are right");
    assert_eq!(config.store.path, Path::new("flag"));
    assert_eq!(config.store.cache_bytes, 64 << 20);
    assert!(!config.store.sync);
    assert_eq!(config.store.min_free_bytes, 256 << 20);
}

#[test]
fn an_empty_variable_names_no_value() {
    let sources = Sources::default()
        .with_variables(variables(&[("CAUSERIE_STORE_PATH", ""), ("MISTRAL_API_KEY", "")]))
        .with_file(Path::new("causerie.toml"), "[store]\npath = \"file\"");
    let config = Config::load(&sources).expect("nothing is wrong");
    assert_eq!(config.store.path, Path::new("file"));
    assert_eq!(config.default_provider().key, KeySource::Missing { variable: Some("MISTRAL_API_KEY".into()) });
}

#[test]
fn all_faults_come_at_once_each_with_its_source() {
    let sources = flags(&[("listen", "here")])
        .with_variables(variables(&[("CAUSERIE_TURNS_TIMEOUT", "10"), ("CAUSERIE_STORE_SYNK", "false")]))
        .with_file(Path::new("etc/c.toml"), "offline = 1\n[store]\ncache_mib = 8\n[log]\nfromat = \"json\"\n");
    assert_eq!(
        faults(sources),
        [
            "--listen is \"here\"; it must be an IP address and a port, such as 127.0.0.1:50051, [::1]:50051 or \
             0.0.0.0:50051",
            "offline (etc/c.toml, line 1) is \"1\"; it must be true or false",
            "store.cache_mib (etc/c.toml, line 3) is \"8\"; it must be a whole number of MiB from 16 to 1048576",
            "CAUSERIE_TURNS_TIMEOUT is \"10\"; it must be a duration from 1s to 24h, such as 500ms, 30s or 10m",
            "log.fromat (etc/c.toml, line 5) is not a setting; the nearest one is log.format",
            "CAUSERIE_STORE_SYNK is not known; CAUSERIE_STORE_SYNC is",
        ]
    );
}

#[test]
fn an_address_that_may_hold_a_key_is_not_shown() {
    for address in ["http://user:sk-1@127.0.0.1", "https://x/v1?key=sk-1", "ftp://x/#sk-1"] {
        let faults = faults(flags(&[("providers.mistral.base_url", address)]));
        assert!(faults.len() == 1 && faults[0].contains("base-url must") && !faults[0].contains("sk-1"), "{faults:?}");
    }
}

#[test]
fn a_wrong_value_says_what_is_allowed() {
    let cases = [
        ("trusted_network", "yes", "true or false"),
        ("turns.max_in_flight", "0", "from 1 to 1000000"),
        ("turns.max_in_flight", "many", "a whole number"),
        ("limits.message_mib", "17", "from 1 to 16"),
        ("events.heartbeat", "500ms", "from 1s to 5m"),
        ("events.heartbeat", "1.5s", "a duration"),
        ("turns.timeout", "99999999999999999999s", "a duration"),
        ("turns.timeout", "s", "a duration"),
        ("providers.mistral.base_url", "api.mistral.ai", "http:// or https://"),
        ("providers.mistral.base_url", "ftp://x", "http:// or https://"),
        ("providers.mistral.base_url", "http:x", "http:// or https://"),
        ("providers.mistral.base_url", "http:///x", "http:// or https://"),
        ("providers.mistral.base_url", "http://x/a b", "http:// or https://"),
        ("providers.mistral.base_url", "http://256.256.256.256", "http:// or https://"),
        ("providers.mistral.base_url", "http://x:99999", "http:// or https://"),
        ("providers.mistral.base_url", "http://xn--a/", "http:// or https://"),
        ("providers.mistral.base_url", "https://user:pw@x", "no user name"),
        (
            "providers.mistral.base_url",
            "https://x/v1?api-version=1",
            "no query but api-version=… after /chat/completions",
        ),
        ("providers.mistral.base_url", "https://x/chat/completions?key=1", "no query but api-version=…"),
        ("providers.mistral.dialect", "anthropic", "mistral or openai"),
        ("providers.mistral.key_header", "x-api-key", "bearer or api-key or none"),
        ("providers.mistral.key_env", "1_KEY", "the name of an environment variable"),
        ("providers.mistral.key_command", " ", "a program and its arguments"),
        ("providers.mistral.key_command", "sh -c 'echo", "a program and its arguments"),
        ("providers.mistral.connect_timeout", "11m", "from 100ms to 10m"),
        ("providers.mistral.first_byte_timeout", "999ms", "from 1s to 10m"),
        ("providers.mistral.idle_timeout", "601s", "from 1s to 10m"),
        ("providers.mistral.answer_timeout", "0s", "from 1s to 10m"),
        ("providers.mistral.max_concurrent", "0", "from 1 to 100000"),
        ("providers.mistral.max_waiting", "-1", "from 0 to 1000000"),
        ("providers.mistral.requests_per_minute", "0", "from 1 to 10000000"),
        ("providers.mistral.tokens_per_minute", "1e6", "from 1 to 1000000000000"),
        ("default_provider", "Mistral", "1 to 32 characters, each of a-z, 0-9 and -"),
        ("default_provider", "mistal", "is not configured; mistral is"),
        ("default_provider", "somebody", "is not configured; there are: mistral"),
        ("fallback_models", "a,,b", "a model's name"),
        ("retry.max_attempts", "0", "from 1 to 20"),
        ("retry.max_attempts", "21", "from 1 to 20"),
        ("retry.base_delay", "2m", "from 1ms to 1m"),
        ("retry.base_delay", "31s", "must not be longer than retry.max_delay"),
        ("retry.max_delay", "100ms", "--retry-max-delay must not be shorter than retry.base_delay"),
        ("retry.max_delay", "0s", "from 1ms to 10m"),
        ("retry.max_elapsed", "2h", "from 0s to 1h"),
        ("breaker.failure_rate", "0.04", "a number from 0.05 to 1"),
        ("breaker.failure_rate", "NaN", "a number from 0.05 to 1"),
        ("breaker.min_calls", "0", "from 1 to 100000"),
        ("breaker.window", "500ms", "from 1s to 1h"),
        ("breaker.open", "99ms", "from 100ms to 1h"),
        ("tools.http.allow", "10.0.0.0/8,http://a", "an address, a range or a host's name"),
        ("tools.http.timeout", "2h", "from 100ms to 1h"),
        ("tools.http.max_response_size", "1KB", "from 1KiB to 2MiB"),
        ("tools.http.max_response_size", "1023B", "from 1KiB to 2MiB"),
        ("tools.http.max_response_size", "4096MiB", "from 1KiB to 2MiB"),
        ("tools.http.callers_may_declare", "no", "true or false"),
        ("log.level", "inof", "off, error, warn, info, debug, trace"),
        ("log.level", "causerie=debug,wran", "off, error, warn, info, debug, trace"),
        ("log.format", "xml", "text or json"),
        ("store.path", "", "a path"),
    ];
    for (key, text, allowed) in cases {
        let found = faults(flags(&[(key, text)]));
        assert!(found.len() == 1 && found[0].contains(allowed), "{key} = {text}: {found:?}");
    }
}

#[test]
fn right_values_of_every_form() {
    let sources = flags(&[
        ("listen", "localhost:0"),
        ("providers.mistral.base_url", "http://10.0.0.1:8000/openai/"),
        ("providers.mistral.connect_timeout", "1500ms"),
        ("turns.timeout", "2h"),
        ("turns.grace", "0s"),
        ("log.level", "causerie[turn{id=1}]=trace,warn"),
        ("log.format", "json"),
        ("fallback_models", "mistral-large-latest, codestral-latest"),
        ("breaker.enabled", "false"),
        ("breaker.failure_rate", "1"),
    ]);
    let config = Config::load(&sources).expect("all values are right");
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.default_provider().base_url, "http://10.0.0.1:8000/openai");
    assert_eq!(config.default_provider().connect_timeout, Duration::from_millis(1500));
    assert_eq!(config.turns.timeout, Duration::from_secs(7200));
    assert_eq!(config.turns.grace, Duration::ZERO);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.fallback_models, ["mistral-large-latest", "codestral-latest"]);
    assert!(!config.breaker.enabled);
    assert_eq!(config.breaker.failure_rate, 1.0);
}

#[test]
fn an_open_address_has_to_be_asked_for() {
    for address in ["0.0.0.0:50051", "[::]:50051", "192.168.1.4:1"] {
        let found = faults(flags(&[("listen", address)]));
        assert!(found[0].starts_with(&format!("--listen ({address}) is an address that other machines")), "{found:?}");
        assert!(found[0].contains("no authentication") && found[0].contains("--trusted-network"), "{found:?}");
        let config = Config::load(&flags(&[("listen", address), ("trusted_network", "true")]));
        assert_eq!(config.expect("it was asked for").listen.to_string(), address);
    }
}

#[test]
fn faults_of_the_file_name_line_and_key() {
    let cases = [
        ("[store\npath = 1", "causerie.toml is not TOML: line 1: "),
        ("[listen]\nx = 1", "listen (causerie.toml, line 1) is a value, not a section"),
        (
            "[[store]]\npath = \"x\"",
            "store (causerie.toml, line 1) is one section: write [store] on a line of its own, once",
        ),
        ("[stor]", "stor (causerie.toml, line 1) is not a setting; the nearest one is "),
        ("listen = 1979-05-27", "listen (causerie.toml, line 1) must be a text in quotes, a number, true or false"),
        ("fallback_models = \"a\"", "fallback_models (causerie.toml, line 1) must be a list, such as [\"a\", \"b\"]"),
        (
            "fallback_models = [\"a\", \"b c\"]",
            "fallback_models (causerie.toml, line 1) is \"b c\"; it must be a model's name",
        ),
        (
            "fallback_models = [\"a\", {b = 1}]",
            "fallback_models (causerie.toml, line 1) must be a list of texts, or of",
        ),
        (
            "[provider]\nbase_url = \"x\"",
            "provider.base_url (causerie.toml, line 2) is not a setting; the nearest one is \
             providers.mistral.base_url",
        ),
        (
            "[breaker]\nfailure_rate = 1.5",
            "breaker.failure_rate (causerie.toml, line 2) is \"1.5\"; it must be a number",
        ),
        ("store = 1", "store (causerie.toml, line 1) is a section, not a value: write [store] on a line of its own"),
        ("[stor]\npath = \"x\"", "stor.path (causerie.toml, line 2) is not a setting; the nearest one is store.path"),
        ("listen = [1]", "listen (causerie.toml, line 1) must be a text in quotes, a number, true or false"),
        ("[limits]\nmessage_mib = 1.5", "limits.message_mib (causerie.toml, line 2) is \"1.5\"; it must be a whole"),
    ];
    for (text, start) in cases {
        let found = faults(file(text));
        assert!(found.len() == 1 && found[0].starts_with(start), "{text}: {found:?}");
    }
}

#[test]
fn no_setting_takes_a_section_or_a_list_for_a_value() {
    for Row { key, .. } in Config::describe() {
        let is_list =
            matches!(key.as_str(), "fallback_models" | "tools.http.allow" | "http.cors_origins" | "http.hosts");
        let element = if key == "http.cors_origins" { "https://a" } else { "a" };
        let list = format!("[\"{element}\"]");
        for (value, part) in [
            ("{}", "is a value, not a section"),
            ("[{}]", "is a value, not a section"),
            ("[[1]]", "must be a list of texts, or of sections, not of both"),
            (&list, if is_list { "" } else { "must be a text in quotes, a number, true or false, not a list" }),
        ] {
            let loaded = Config::load(&file(&format!("{key} = {value}")));
            let found = loaded.err().map(|error| error.to_string()).unwrap_or_default();
            let expected =
                if part.is_empty() { String::new() } else { format!("{key} (causerie.toml, line 1) {part}") };
            assert!(found == expected || found.contains(&format!("\n  {expected}\n")), "{key} = {value}: {found}");
        }
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let found = faults(Sources::default().with_surroundings(Some(Path::new("/nowhere/c.toml"))));
    assert!(found[0].starts_with("/nowhere/c.toml (the configuration file) cannot be read: "), "{found:?}");
}

#[test]
fn names_follow_from_keys() {
    let rows = Config::describe();
    let row = rows.iter().find(|row| row.key == "store.cache_mib").expect("it is a setting");
    assert_eq!((row.flag.as_str(), row.variable.as_str()), ("--store-cache-mib", "CAUSERIE_STORE_CACHE_MIB"));
    let row = rows.iter().find(|row| row.key == "providers.mistral.key_env").expect("it is a setting");
    assert_eq!(row.flag, "--providers-mistral-key-env");
    assert_eq!(row.variable, "CAUSERIE_PROVIDERS_MISTRAL_KEY_ENV");
    let unique: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.flag).collect();
    assert_eq!(unique.len(), rows.len(), "two settings share a flag");
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let one = |text: &str| Config::load(&flags(&[("http.cors_origins", text)])).map(|config| config.http.cors_origins);
    let origins = one("https://app.example.com,http://localhost:3000").expect("both are origins");
    assert_eq!(origins, ["https://app.example.com", "http://localhost:3000"]);
    for wrong in ["*", "null", "app.example.com", "https://app.example.com/", "https://App.example.com", "http://a:80"]
    {
        assert!(one(wrong).is_err(), "{wrong}");
    }
    let hosts = Config::load(&flags(&[("http.hosts", "Chat.Example.com,b:8443")])).expect("both are hosts").http.hosts;
    assert_eq!(hosts, ["chat.example.com", "b:8443"]);
}
