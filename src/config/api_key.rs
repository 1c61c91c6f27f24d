//! Keys of providers: where they come from, and that they are never shown.

use std::{fmt, fs, path::PathBuf};

use super::{provider::KeyHeader, rule::Rule, section::Section, source::Origin};

/// The settings of which a provider may have one.
const SOURCES: [&str; 3] = ["key_env", "key_file", "key_command"];

/// Where a provider's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The provider takes no key.
    NotNeeded,
    /// There is none: turns are refused with API_KEY_MISSING, unless their callers bring a key.
    Missing {
        /// The environment variable that would hold it, if one is named.
        variable: Option<String>,
    },
    /// It stood in the environment when the configuration was read.
    Variable {
        /// Where it stood.
        name: String,
        /// The key.
        key: ApiKey,
    },
    /// It stands in this file, which held a good one when the configuration was read. A file that changes counts at once.
    File(PathBuf),
    /// The program that prints it, and its arguments, quoted as in a shell. Nothing has run it yet.
    Command(String),
}

/// A key of a provider. Its debug form hides it; there is no other way to print it than [`ApiKey::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key, for the header that carries it and nothing else: 1 to 4,096 visible ASCII characters.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<ApiKey, &'static str> {
        match text.trim() {
            "" => Err("holds no key"),
            key if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("must hold the key and nothing else: one line of visible ASCII characters")
            }
            key if key.len() > 4096 => Err("must hold a key of at most 4096 characters"),
            key => Ok(ApiKey(key.to_owned())),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl KeySource {
    /// Reads the settings of a provider's key. Faults never show what was read: it may be a key.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        variable: Option<&'static str>,
        header: KeyHeader,
        caller_keys: bool,
    ) -> KeySource {
        const VARIABLE_HELP: &str = "The environment variable that holds the provider's key. The key itself is never a flag \
                                     nor in the configuration file, where other users and backups would see it.";
        let variable = match variable {
            Some(default) => Some(section.get("key_env", Rule::key_variable(), default, VARIABLE_HELP)),
            None => section.optional("key_env", Rule::key_variable(), VARIABLE_HELP),
        };
        let file = section.optional(
            "key_file",
            Rule::path().hidden(),
            "A file with the key in it, in place of the variable. A changed file counts at once.",
        );
        let command = section.optional(
            "key_command",
            Rule::command(),
            "A program that prints the key and its arguments, in place of the variable, such as pass show mistral. Quotes are \
             those of a shell, but no shell runs it: a pipe needs sh -c '…'.",
        );
        check_count(section, header, caller_keys);
        match (header, file, command) {
            (KeyHeader::None, ..) => KeySource::NotNeeded,
            (KeyHeader::Bearer | KeyHeader::ApiKey, Some(path), _) => of_file(section, "key_file", path),
            (KeyHeader::Bearer | KeyHeader::ApiKey, None, Some(command)) => KeySource::Command(command),
            (KeyHeader::Bearer | KeyHeader::ApiKey, None, None) => of_variable(section, variable),
        }
    }
}

impl KeySource {
    /// Reads the settings of a bearer token, of which there may be none or one.
    pub(super) fn read_bearer(section: &mut Section<'_, '_>) -> KeySource {
        const NAMES: [&str; 3] = ["bearer_token_env", "bearer_token_file", "bearer_token_command"];
        let variable =
            section.optional(NAMES[0], Rule::key_variable(), "The environment variable that holds the bearer token.");
        let file = section.optional(
            NAMES[1],
            Rule::path().hidden(),
            "A file with the bearer token in it. A changed file counts when the token before it is refused.",
        );
        let command = section.optional(
            NAMES[2],
            Rule::command(),
            "A program that prints the bearer token and its arguments. It is run again when the token is refused.",
        );
        let named: Vec<&str> = NAMES.into_iter().filter(|name| section.names(name)).collect();
        if let [first, second, ..] = named.as_slice() {
            section.reject(second, format!("cannot be set beside {first}: a server gets one token"));
        }
        match (variable, file, command) {
            (None, None, None) => KeySource::NotNeeded,
            (_, Some(path), _) => of_file(section, NAMES[1], path),
            (_, None, Some(command)) => KeySource::Command(command),
            (variable @ Some(_), None, None) => of_variable(section, variable),
        }
    }
}

/// A provider has one key or, where none is sent, none. The built-in one's variable has a name by default.
fn check_count(section: &mut Section<'_, '_>, header: KeyHeader, caller_keys: bool) {
    let named: Vec<&str> = SOURCES.into_iter().filter(|name| section.names(name)).collect();
    match (header, named.as_slice()) {
        (KeyHeader::None, []) => {}
        (KeyHeader::None, [first, ..]) => {
            section.reject(first, "cannot be set where key_header is none: no key is sent")
        }
        (KeyHeader::Bearer | KeyHeader::ApiKey, [first, second, ..]) => {
            section.reject(second, format!("cannot be set beside {first}: a provider has one key"));
        }
        (KeyHeader::Bearer | KeyHeader::ApiKey, [_]) => {}
        (KeyHeader::Bearer | KeyHeader::ApiKey, []) if section.is_documented() || caller_keys => {}
        (KeyHeader::Bearer | KeyHeader::ApiKey, []) => {
            let key = section.key().clone();
            section.reader().reject(
                &key,
                "has no key: set key_env, key_file or key_command; or key_header = \"none\" if the provider takes none; or \
                 caller_keys = true if callers bring their own",
            );
        }
    }
}

fn of_file(section: &mut Section<'_, '_>, setting: &str, path: PathBuf) -> KeySource {
    let key = match fs::read_to_string(&path) {
        Ok(text) => ApiKey::parse(&text).map_err(str::to_owned),
        Err(error) => Err(format!("must name a file that holds the key and can be read ({error})")),
    };
    if let Err(text) = key {
        section.reject(setting, text);
    }
    KeySource::File(path)
}

fn of_variable(section: &mut Section<'_, '_>, name: Option<String>) -> KeySource {
    let Some((name, text)) = name.as_deref().and_then(|name| Some((name, section.reader().variable(name)?))) else {
        return KeySource::Missing { variable: name };
    };
    match ApiKey::parse(text) {
        Ok(key) => KeySource::Variable { name: name.to_owned(), key },
        Err(text) => {
            section.reader().reject_at(Origin::Variable(name.to_owned()), text);
            KeySource::Missing { variable: Some(name.to_owned()) }
        }
    }
}
