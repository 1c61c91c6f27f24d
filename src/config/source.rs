//! Where values come from: flags, the environment, the file. Nothing is judged here but whether it can be read.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    file::{self, FileValue, Value},
    key::Key,
    problem::Problem,
};

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
    Default(String),
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

/// All values that were named, as text. Neither printed nor compared: among the variables are keys.
#[derive(Default)]
pub struct Sources {
    flags: BTreeMap<String, String>,
    /// All of the environment: which variables hold keys is known only when the file has been read.
    variables: BTreeMap<String, String>,
    file: Vec<FileValue>,
    problems: Vec<Problem>,
}

/// What the first source that names a setting says.
pub(super) enum Found<'a> {
    /// A flag, a variable, or a single value of the file.
    Text(&'a str),
    /// A list of the file.
    List(&'a [String]),
    /// What the file has in a form of its own.
    Json(&'a serde_json::Value),
    /// A section of the file, or several.
    Section,
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

    /// Adds environment variables; an empty one names no value.
    #[must_use]
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Sources {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => drop(self.variables.insert(name, value)),
                Err(_) if name.starts_with(PREFIX) => self.reject(Origin::Variable(name), "must be UTF-8"),
                // If it was to hold a key, the mark for what could not be read makes that a fault.
                Err(value) => drop(self.variables.insert(name, value.to_string_lossy().into_owned())),
            }
        }
        self
    }

    /// Adds the text of a configuration file.
    #[must_use]
    pub fn with_file(mut self, path: &Path, text: &str) -> Sources {
        let (values, problems) = file::read(path, text);
        self.file.extend(values);
        self.problems.extend(problems);
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
    pub(super) fn find(&self, key: &Key) -> Option<(Origin, Found<'_>)> {
        if let Some(text) = self.flags.get(&key.to_string()) {
            return Some((Origin::Flag(key.flag()), Found::Text(text)));
        }
        if let Some(name) = key.variable()
            && let Some(text) = self.variables.get(&name)
        {
            return Some((Origin::Variable(name), Found::Text(text)));
        }
        let value = self.file.iter().find(|value| value.key == *key)?;
        let found = match &value.value {
            Value::Text(text) => Found::Text(text),
            Value::List(texts) => Found::List(texts),
            Value::Json(json) => Found::Json(json),
            Value::Section | Value::Sections(_) => Found::Section,
        };
        Some((value.origin.clone(), found))
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The names of the variables that were added and could be meant for this program.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| name.starts_with(PREFIX))
    }

    /// What stands in the file, each section before what it holds.
    pub(super) fn file(&self) -> &[FileValue] {
        &self.file
    }

    /// What could not be read.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn reject(&mut self, origin: Origin, text: impl Into<String>) {
        self.problems.push(Problem { origin, text: text.into() });
    }
}
