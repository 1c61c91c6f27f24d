//! Where keys come from, and that nothing shows them.

use std::io::Write;

use super::*;

const KEY: &str = "not-a-real-key";

fn key_file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    write!(file, "{text}").expect("the file takes a line");
    let path = file.path().to_str().expect("a plain path").to_owned();
    (file, path)
}

fn x(lines: &str) -> Sources {
    file(&format!("[providers.x]\nbase_url = \"http://x\"\n{lines}\n"))
}

#[test]
fn a_key_comes_from_one_place_and_is_never_shown() {
    let (_held, path) = key_file(&format!(" {KEY}\n"));
    let stored = |name: &str| KeySource::Variable { name: name.into(), key: ApiKey::parse(KEY).expect("a key") };
    let environment = || variables(&[("MISTRAL_API_KEY", KEY), ("OTHER_KEY", KEY)]);
    let mistral = |pairs: &[(&str, &str)]| flags(pairs).with_variables(environment());
    let other = |lines: &str| x(lines).with_variables(environment());
    let missing = |name: Option<&str>| KeySource::Missing { variable: name.map(str::to_owned) };
    let cases = [
        (mistral(&[]), stored("MISTRAL_API_KEY")),
        (mistral(&[("providers.mistral.key_env", "OTHER_KEY")]), stored("OTHER_KEY")),
        (mistral(&[("providers.mistral.key_env", "NO_KEY")]), missing(Some("NO_KEY"))),
        // The built-in variable is only a default: another place is taken before it.
        (mistral(&[("providers.mistral.key_file", &path)]), KeySource::File(path.clone().into())),
        (mistral(&[("providers.mistral.key_command", "pass x")]), KeySource::Command("pass x".into())),
        (mistral(&[("providers.mistral.key_header", "none")]), KeySource::NotNeeded),
        (other("key_env = \"OTHER_KEY\""), stored("OTHER_KEY")),
        (other("key_env = \"NO_KEY\""), missing(Some("NO_KEY"))),
        (other(&format!("key_file = {path:?}")), KeySource::File(path.clone().into())),
        (other("key_command = \"pass show x\"\nkey_header = \"api-key\""), KeySource::Command("pass show x".into())),
        (other("key_header = \"none\""), KeySource::NotNeeded),
        (other("caller_keys = true"), missing(None)),
    ];
    for (sources, expected) in cases {
        let config = Config::load(&sources).expect("the key is right");
        let provider = config.providers.last().expect("there is always one");
        assert_eq!(provider.key, expected);
        assert!(!format!("{config:?}").contains(KEY));
    }
}

#[test]
fn a_provider_has_one_key_or_none() {
    let cases = [
        (
            x("key_env = \"A\"\nkey_command = \"b\""),
            "providers.x.key_command (causerie.toml, line 4) cannot be set beside key_env",
        ),
        (x(""), "providers.x (causerie.toml, line 1) has no key: set key_env, key_file or key_command"),
        (
            x("key_header = \"none\"\nkey_env = \"A\""),
            "providers.x.key_env (causerie.toml, line 4) cannot be set where",
        ),
        (
            flags(&[("providers.mistral.key_env", "A"), ("providers.mistral.key_command", "b")]),
            "--providers-mistral-key-command cannot be set beside key_env: a provider has one key",
        ),
    ];
    for (sources, start) in cases {
        let found = faults(sources);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
    }
}

#[test]
fn faults_about_a_key_do_not_show_it() {
    const KEY: &str = "not a real key";
    let (_held, path) = key_file(KEY);
    let (_empty, empty) = key_file("\n");
    let variable = |name: &str| variables(&[(name, KEY)]);
    let cases = [
        (
            flags(&[("providers.mistral.key_file", KEY)]),
            "--providers-mistral-key-file must name a file that holds the key",
        ),
        (
            flags(&[("providers.mistral.key_file", &path)]),
            "--providers-mistral-key-file must hold the key and nothing else",
        ),
        (flags(&[("providers.mistral.key_file", &empty)]), "--providers-mistral-key-file holds no key"),
        (
            flags(&[("providers.mistral.key_env", KEY)]),
            "--providers-mistral-key-env must be the name of an environment",
        ),
        (flags(&[]).with_variables(variable("MISTRAL_API_KEY")), "MISTRAL_API_KEY must hold the key and nothing"),
        (x("key_env = \"X_KEY\"").with_variables(variable("X_KEY")), "X_KEY must hold the key and nothing"),
        (
            file(&format!("[providers.mistral]\nkey = \"{KEY}\"")),
            "providers.mistral.key (causerie.toml, line 2) cannot be set here: put the key into a file of its own and name \
             it in providers.mistral.key_file, or into an environment variable and name that in providers.mistral.key_env",
        ),
        (
            x(&format!("key_header = \"none\"\napi_key = \"{KEY}\"")),
            "providers.x.api_key (causerie.toml, line 4) cannot be set here: put the key into a file of its own and name it \
             in providers.x.key_file",
        ),
    ];
    for (sources, start) in cases {
        let found = faults(sources);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
        assert!(!found[0].contains(KEY), "{found:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_holds_no_key() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![b'k', 0xff]);
    let sources = x("key_env = \"X_KEY\"").with_variables([("X_KEY".into(), broken()), ("UNRELATED".into(), broken())]);
    assert_eq!(faults(sources), ["X_KEY must hold the key and nothing else: one line of visible ASCII characters"]);
}
