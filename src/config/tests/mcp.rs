//! Servers of tools.

use super::*;

const TWO: &str = r#"
[mcp.files]
command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]
env = { TOKEN = "not-to-be-shown", Mixed_2 = "" }
pass_env = ["GITHUB_TOKEN"]
directory = "/srv"
include = ["read_file"]
exclude = ["write file"]

[mcp.search]
url = "https://mcp.example.com/mcp/?key=not-to-be-shown"
headers = { X-Tenant = "not-to-be-shown" }
bearer_token_env = "SEARCH_TOKEN"
connect_timeout = "1s"
timeout = "2m"
max_concurrent = 3
max_result_mib = 4
"#;

#[test]
fn a_server_is_a_program_or_an_address() {
    let set = variables(&[("GITHUB_TOKEN", "not-to-be-shown"), ("SEARCH_TOKEN", "not-to-be-shown")]);
    let config = Config::load(&Sources::default().with_variables(set).with_file(Path::new("c.toml"), TWO));
    let config = config.expect("all values are right");
    let [files, search] = config.mcp.as_slice() else { panic!("{:?}", config.mcp) };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let McpTransport::Command { command, env, directory } = &files.transport else { panic!("{files:?}") };
    assert_eq!(command, &["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]);
    let mut env = env.clone();
    env.sort();
    assert_eq!(env, [pair("GITHUB_TOKEN", "not-to-be-shown"), pair("Mixed_2", ""), pair("TOKEN", "not-to-be-shown"),]);
    assert_eq!(directory.as_deref(), Some(Path::new("/srv")));
    assert_eq!(
        (files.include.as_slice(), files.exclude.as_slice()),
        (&["read_file".to_owned()][..], &["write file".to_owned()][..])
    );
    assert_eq!((files.connect_timeout, files.timeout), (Duration::from_secs(10), Duration::from_secs(60)));
    assert_eq!((files.max_concurrent, files.max_result_bytes), (16, 1 << 20));
    let McpTransport::Url { url, headers, bearer } = &search.transport else { panic!("{search:?}") };
    assert_eq!(url, "https://mcp.example.com/mcp/?key=not-to-be-shown");
    assert_eq!(headers["x-tenant"], "not-to-be-shown");
    assert!(
        matches!(bearer, KeySource::Variable { name, key } if name == "SEARCH_TOKEN" && key.expose() == "not-to-be-shown")
    );
    assert_eq!((search.connect_timeout, search.timeout), (Duration::from_secs(1), Duration::from_secs(120)));
    assert_eq!((search.max_concurrent, search.max_result_bytes), (3, 4 << 20));
    assert!(!format!("{config:?}").contains("not-to-be-shown"));
    assert!(Config::default().mcp.is_empty());
}

#[test]
fn faults_say_what_is_wrong_and_no_secret() {
    for (text, expected) in [
        ("[mcp.a]", "has neither command nor url"),
        ("[mcp.a]\ncommand = [\"x\"]\nurl = \"http://x\"", "cannot be set beside command"),
        ("[mcp.a]\ncommand = []", "must begin with a program"),
        ("[mcp.a]\ncommand = [\"\", \"x\"]", "must begin with a program"),
        ("[mcp.a]\ncommand = \"npx x\"", "must be a list"),
        ("[mcp.a]\ncommand = [\"x\"]\nheaders = { x-a = \"sk-secret\" }", "is of no use without url"),
        ("[mcp.a]\nurl = \"http://x\"\nenv = { A = \"sk-secret\" }", "is of no use without command"),
        ("[mcp.a]\ncommand = [\"x\"]\nenv = { \"A=B\" = \"sk-secret\" }", "is no name of a variable"),
        ("[mcp.a]\ncommand = [\"x\"]\npass_env = [\"NOT_SET\"]", "names NOT_SET, which is not set"),
        ("[mcp.a]\nurl = \"ftp://sk-secret@x\"", "must be http:// or https://"),
        ("[mcp.a]\nurl = \"http://x\"\nheaders = { Authorization = \"Bearer sk-secret\" }", "cannot be set here"),
        (
            "[mcp.a]\nurl = \"http://x\"\nbearer_token_env = \"A\"\nbearer_token_command = \"b\"",
            "cannot be set beside bearer_token_env",
        ),
        ("[mcp.a]\nurl = \"http://x\"\nbearer_token_file = \"/nonexistent\"", "can be read"),
        ("[mcp.a]\nurl = \"http://x\"\ntime_out = \"1s\"", "the nearest one is mcp.a.timeout"),
        ("[mcp.A_b]\nurl = \"http://x\"", "is no name of a server"),
        ("mcp = 3", "is a section"),
    ] {
        let all = faults(file(text));
        let [fault] = all.as_slice() else { panic!("{text}: {all:?}") };
        assert!(fault.contains(expected), "{text}: {fault}");
        assert!(!fault.contains("sk-secret"), "{fault}");
    }
}
