//! Where values come from: flags, the environment, the file. Nothing is judged here but whether it can be read.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable, de::DeValue};

use super::problem::Problem;

/// The variable that holds the provider key, under the name that Mistral's own clients use.
pub(super) const KEY_VARIABLE: &str = "MISTRAL_API_KEY";
const CONFIG_VARIABLE: &str = "CAUSERIE_CONFIG";
const PREFIX: &str = "CAUSERIE_";
const DEFAULT_FILE: &str = "causerie.toml";

/// Where a value stands. Its text is how a person finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its section.
        key: String,
    },
    /// The configuration file as a whole.
    WholeFile(PathBuf),
    /// Nowhere: the default of this key.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(name) => f.write_str(name),
            Origin::File { path, line, key } => write!(f, "{key} ({}, line {line})", path.display()),
            Origin::WholeFile(path) => write!(f, "{}", path.display()),
            Origin::Default(key) => write!(f, "the default of {key}"),
        }
    }
}

/// The flag of a key: `store.cache_mib` is `--store-cache-mib`.
pub(super) fn flag_name(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
}

/// The environment variable of a key: `store.cache_mib` is `CAUSERIE_STORE_CACHE_MIB`.
pub(super) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// All values that were named, as text.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    file: Vec<FileValue>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct FileValue {
    key: String,
    origin: Origin,
    text: String,
}

impl Sources {
    /// No sources but these flags: text by key. Other sources are added to it, for tests one by one.
    pub fn from_flags(flags: BTreeMap<String, String>) -> Sources {
        Sources { flags, ..Sources::default() }
    }

    /// Adds this process's environment, and the file that `--config` or CAUSERIE_CONFIG names, else ./causerie.toml if there
    /// is one. What cannot be read is reported by [`Config::load`](super::Config::load), together with all else.
    #[must_use]
    pub fn with_surroundings(self, config: Option<&Path>) -> Sources {
        let sources = self.with_variables(env::vars_os());
        let named = config.map(Path::to_owned).or_else(|| sources.variable(CONFIG_VARIABLE).map(PathBuf::from));
        match named {
            Some(path) => sources.with_file_at(&path, true),
            None => sources.with_file_at(Path::new(DEFAULT_FILE), false),
        }
    }

    /// Adds environment variables. Others than ours are left aside; an empty one names no value.
    #[must_use]
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Sources {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            if !name.starts_with(PREFIX) && name != KEY_VARIABLE {
                continue;
            }
            match value.into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => drop(self.variables.insert(name, value)),
                Err(_) => self.reject(Origin::Variable(name), "must be UTF-8"),
            }
        }
        self
    }

    /// Adds the text of a configuration file.
    #[must_use]
    pub fn with_file(mut self, path: &Path, text: &str) -> Sources {
        match DeTable::parse(text) {
            Ok(table) => self.add_table(path, text, "", table.get_ref()),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let text = format!("is not TOML: line {}: {}", line_at(text, start), error.message());
                self.reject(Origin::WholeFile(path.to_owned()), text);
            }
        }
        self
    }

    fn with_file_at(mut self, path: &Path, required: bool) -> Sources {
        match fs::read_to_string(path) {
            Ok(text) => self.with_file(path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && !required => self,
            Err(error) => {
                self.reject(
                    Origin::WholeFile(path.to_owned()),
                    format!("(the configuration file) cannot be read: {error}"),
                );
                self
            }
        }
    }

    /// The first source that names a value for this key.
    pub(super) fn find(&self, key: &str) -> Option<(Origin, &str)> {
        if let Some(text) = self.flags.get(key) {
            return Some((Origin::Flag(flag_name(key)), text));
        }
        let name = variable_name(key);
        if let Some(text) = self.variables.get(&name) {
            return Some((Origin::Variable(name), text));
        }
        let value = self.file.iter().find(|value| value.key == key)?;
        Some((value.origin.clone(), &value.text))
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The names of all variables that were added.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// All keys of the file.
    pub(super) fn file_keys(&self) -> impl Iterator<Item = (Origin, &str)> {
        self.file.iter().map(|value| (value.origin.clone(), value.key.as_str()))
    }

    /// What could not be read.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn add_table(&mut self, path: &Path, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let line = line_at(text, name.span().start);
            self.add_value(path, text, Origin::File { path: path.to_owned(), line, key: key.clone() }, key, value);
        }
    }

    fn add_value(&mut self, path: &Path, file: &str, origin: Origin, key: String, value: &Spanned<DeValue<'_>>) {
        let text = match value.get_ref() {
            DeValue::Table(table) => return self.add_table(path, file, &format!("{key}."), table),
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(on) => on.to_string(),
            // As it is written, so that a fault shows it so: 1.5, 0x10.
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) => {
                self.reject(origin, "must be a text in quotes, a number, true or false");
                return;
            }
        };
        self.file.push(FileValue { key, origin, text });
    }

    fn reject(&mut self, origin: Origin, text: impl Into<String>) {
        self.problems.push(Problem { origin, text: text.into() });
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
