//! `causerie providers`: which providers can be used, without a server.
//!
//! On several threads: the scripted providers answer while the test waits for the program.

use std::{fs, net::TcpListener, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    golden::normalised,
    program::{causerie, told},
    provider::{Reply, ScriptedProvider},
};

fn providers(dir: &Path, flags: &[&str]) -> (String, String, Option<i32>) {
    let mut command = causerie(dir);
    command.arg("providers").args(flags).env("A_KEY", "not-a-real-key");
    told(&command.output().expect("it runs"))
}

#[test]
fn offline_it_works_without_key_network_and_server() {
    let dir = TempDir::new().expect("a folder");
    let (out, err, code) = providers(dir.path(), &["--offline"]);
    let expected = "\
provider           dialect  reachable  key       models  clock    round trip
offline (default)  mistral  yes        accepted  3       in step  N ms
";
    assert_eq!((normalised(&out).as_str(), err.as_str(), code), (expected, "", Some(0)));
    assert!(!dir.path().join("causerie-data").exists(), "a store was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_has_its_line_and_its_problem() {
    let [well, refusing, broken] =
        [ScriptedProvider::start().await, ScriptedProvider::start().await, ScriptedProvider::start().await];
    // The clock is compared only where the answer has a date, which these have not.
    well.on_every(Reply::json(200, &json!({"data": [{"id": "a"}, {"id": "b"}]})));
    refusing.on_every(Reply::json(401, &json!({"error": {"message": "Incorrect API key provided"}})));
    broken.on_every(Reply::plain(200, "text/html", "<html>"));
    let closed = TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("an address");
    let dir = TempDir::new().expect("a folder");
    let file = format!(
        "[providers.well]\nbase_url = \"{}\"\nkey_header = \"none\"\n[providers.refusing]\nbase_url = \"{}\"\n\
         key_env = \"A_KEY\"\n[providers.down]\nbase_url = \"http://{closed}\"\nkey_env = \"A_KEY\"\n\
         [providers.broken]\nbase_url = \"{}\"\nkey_header = \"none\"\n[providers.theirs]\nbase_url = \"{}\"\n\
         key_env = \"NO_KEY\"\ncaller_keys = true\n",
        well.base_url(),
        refusing.base_url(),
        broken.base_url(),
        refusing.base_url()
    );
    fs::write(dir.path().join("causerie.toml"), file).expect("a file");

    let (out, err, code) = providers(dir.path(), &["--default-provider", "well"]);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    let (table, problems) = out.split_once("\n\n").expect("problems below the table");
    let expected = "\
provider        dialect  reachable  key           models  clock  round trip
well (default)  openai   yes        not needed    2       -      N ms
broken          openai   yes        not needed    -       -      N ms
down            openai   NO         not known     -       -      -
refusing        openai   yes        refused       -       -      N ms
theirs          openai   yes        callers' own  -       -      N ms";
    assert_eq!(normalised(table), expected);
    let said: Vec<&str> = problems.lines().collect();
    let [broken_s, down_s, refusing_s] = said[..] else { panic!("{problems}") };
    assert!(broken_s.contains("broken") && broken_s.contains("it is no list of models"), "{broken_s}");
    assert!(down_s.starts_with("down can't be reached at 127.0.0.1:"), "{down_s}");
    assert!(refusing_s.starts_with("refusing refused the API key"), "{refusing_s}");
    assert!(!problems.contains("theirs"), "without a key of our own no list was to be expected: {problems}");
    assert!(!out.contains('\x1b') && !out.contains("not-a-real-key"), "{out}");

    // The default one decides how it ends.
    let (_, err, code) = providers(dir.path(), &["--default-provider", "theirs"]);
    assert_eq!(code, Some(0), "{err}");
    for default in ["refusing", "down", "broken"] {
        let (_, err, code) = providers(dir.path(), &["--default-provider", default]);
        assert_eq!(code, Some(1), "{default}: {err}");
        assert!(err.contains(&format!("the default provider, {default}, cannot be used")), "{err}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let dir = TempDir::new().expect("a folder");
    let (out, err, code) = providers(dir.path(), &["--providers-mistral-base-url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("missing") && out.contains("MISTRAL_API_KEY"), "{out}");
    assert!(err.contains("causerie providers --offline"), "{err}");

    let (out, err, code) = providers(dir.path(), &["--offline=maybe"]);
    assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
}
