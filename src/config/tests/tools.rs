use super::*;

#[test]
fn a_tool_is_read_whole() {
    let text = r#"
[tools.http]
allow = ["10.0.0.0/8", "localhost:8080"]

[tools.http.requests.weather]
description = "The weather."
method = "POST"
url = "https://api.example.com/{city}"
headers = { Authorization = "Bearer ${secret:weather}" }
timeout = "5s"
max_response_size = "64KiB"

[tools.http.requests.weather.parameters]
type = "object"
required = ["city"]
additionalProperties = false

[tools.http.requests.weather.parameters.properties]
city = { type = "string", maxLength = 0x40 }
share = { type = ["number", "null"], maximum = 0.5, enum = [0.25, 1] }

[tools.http.requests.time]
url = "http://localhost:8080/time"
parameters = """{"type": "object", "properties": {"zone": {"type": "string"}}}"""

[tools.secrets.weather]
value_env = "WEATHER_KEY"
hosts = ["api.example.com"]
"#;
    let sources = file(text).with_variables(variables(&[("WEATHER_KEY", "12345678")]));
    let Tools { http, secrets } = Config::load(&sources).expect("nothing is wrong").tools;
    assert_eq!(http.allow, ["10.0.0.0/8", "localhost:8080"]);
    let weather = &http.requests["weather"];
    assert_eq!((weather.method, weather.url.as_str()), ("POST", "https://api.example.com/{city}"));
    assert_eq!(weather.headers, [("Authorization".to_owned(), "Bearer ${secret:weather}".to_owned())]);
    assert_eq!((weather.timeout, weather.max_response_bytes), (Some(Duration::from_secs(5)), Some(64 << 10)));
    let schema = serde_json::json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {
            "city": {"type": "string", "maxLength": 64},
            "share": {"type": ["number", "null"], "maximum": 0.5, "enum": [0.25, 1]},
        },
    });
    assert_eq!(weather.parameters.clone().map(serde_json::Value::Object), Some(schema));
    let time = &http.requests["time"];
    assert_eq!((time.method, time.description.as_str(), time.timeout), ("GET", "", None));
    assert!(time.parameters.as_ref().is_some_and(|schema| schema["properties"]["zone"]["type"] == "string"));
    assert!(matches!(&secrets["weather"].value, SecretSource::Value(value) if value.expose() == "12345678"));
    assert_eq!(secrets["weather"].hosts, ["api.example.com"]);
}

#[test]
fn a_secret_that_is_not_there_yet_is_no_fault() {
    let sources = file("[tools.secrets.a]\nvalue_env = \"A_KEY\"\nhosts = [\"a\"]");
    let config = Config::load(&sources).expect("nothing is wrong");
    assert_eq!(config.tools.secrets["a"].value, SecretSource::Missing("A_KEY".into()));
}

#[test]
fn faults_of_tools_name_their_place() {
    const URL: &str = "url = \"https://a/\"\n";
    let cases = [
        ("[tools.http.requests.a]".to_owned(), "tools.http.requests.a (causerie.toml, line 1) has no url"),
        (format!("[tools.http.requests.\"a b\"]\n{URL}"), "is no name of a tool; it must be 1 to 64"),
        ("[tools.http.requests.a]\nurl = \"ftp://a/\"".to_owned(), "a.url (causerie.toml, line 2) must be http://"),
        (format!("[tools.http.requests.a]\n{URL}methd = \"GET\""), "the nearest one is tools.http.requests.a.method"),
        (format!("[tools.http.requests.a]\n{URL}method = \"get\""), "must be GET or HEAD"),
        (format!("[tools.http.requests.a]\n{URL}parameters = \"{{\""), "must be the JSON Schema of an object"),
        (format!("[tools.http.requests.a]\n{URL}parameters = [1]"), "must be the JSON Schema of an object"),
        (format!("[tools.http.requests.a]\n{URL}[tools.http.requests.a.parameters]\nx = 1"), "type = \"object\""),
        (format!("[tools.http.requests.a]\n{URL}headers = {{\"a b\" = \"1\"}}"), "is no name of a header"),
        (
            "[tools.secrets.a]\nvalue_env = \"A\"".to_owned(),
            "tools.secrets.a (causerie.toml, line 1) must name the hosts",
        ),
        ("[tools.secrets.a]\nvalue_env = \"A\"\nhosts = [\"http://a\"]".to_owned(), "must be a host's name"),
        ("[tools.secrets.a]\nhosts = [\"a\"]".to_owned(), "has no value: set value_env or value_file"),
        ("[tools.secrets.a]\nvalue = \"s3cret\"\nhosts = [\"a\"]".to_owned(), "is not a setting"),
        ("[tools.secrets.a]\nvalue_file = \"/nowhere/s\"\nhosts = [\"a\"]".to_owned(), "must name a file that holds"),
    ];
    for (text, part) in cases {
        let found = faults(file(&text));
        assert!(found.iter().any(|fault| fault.contains(part)), "{text}: {found:?}");
        assert!(!found.concat().contains("s3cret"), "{found:?}");
    }
    let short = file("[tools.secrets.a]\nvalue_env = \"A_KEY\"\nhosts = [\"a\"]");
    let found = faults(short.with_variables(variables(&[("A_KEY", "s3cret")])));
    assert!(found[0].starts_with("A_KEY must hold a secret of at least 8 characters"), "{found:?}");
}
