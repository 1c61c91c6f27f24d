//! Reads settings one by one, and remembers which there are and what was wrong.

use super::{
    problem::{ConfigError, Problem, nearest},
    rule::Rule,
    source::{Origin, Sources, flag_name, variable_name},
};

/// A setting, as the help and the README's table show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key in the file: `section.name`, or a name at the top.
    pub key: &'static str,
    /// Its flag, such as `--store-path`.
    pub flag: String,
    /// Its environment variable, such as `CAUSERIE_STORE_PATH`.
    pub variable: String,
    /// What it is when nothing names it; empty: not set.
    pub default: &'static str,
    /// What is allowed.
    pub allowed: String,
    /// What stands for the value in the help, such as `PATH`; `BOOL` for switches.
    pub value_name: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Gives settings their values. A wrong value is noted and the default taken, so that all faults are found in one go.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    rows: Vec<Row>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Reader<'a> {
        Reader { sources, rows: Vec::new(), problems: sources.problems().to_vec() }
    }

    /// A setting that always has a value.
    pub(super) fn get<T>(&mut self, key: &'static str, rule: Rule<T>, default: &'static str, help: &'static str) -> T {
        self.describe(key, &rule, default, help);
        let named = self.named(key, &rule);
        named.unwrap_or_else(|| rule.parse(default).expect("a test holds that every default keeps its own rule"))
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, key: &'static str, rule: Rule<T>, help: &'static str) -> Option<T> {
        self.describe(key, &rule, "", help);
        self.named(key, &rule)
    }

    /// An environment variable that is not a setting.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        self.sources.variable(name)
    }

    /// Notes that a setting's value is wrong, though it keeps its own rule.
    pub(super) fn reject(&mut self, key: &'static str, value: &str, text: &str) {
        self.reject_hidden(key, format!("({value}) {text}"));
    }

    /// The same, without showing the value.
    pub(super) fn reject_hidden(&mut self, key: &'static str, text: String) {
        let origin = self.sources.find(key).map_or(Origin::Default(key), |(origin, _)| origin);
        self.reject_at(origin, text);
    }

    /// The same, for what is not a setting.
    pub(super) fn reject_at(&mut self, origin: Origin, text: impl Into<String>) {
        self.problems.push(Problem { origin, text: text.into() });
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Looks for names that no setting has, and gives all problems there were.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        self.reject_unknown_keys();
        self.reject_misspelt_variables();
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    fn describe<T>(&mut self, key: &'static str, rule: &Rule<T>, default: &'static str, help: &'static str) {
        self.rows.push(Row {
            key,
            flag: flag_name(key),
            variable: variable_name(key),
            default,
            allowed: rule.allowed.clone(),
            value_name: rule.name,
            help,
        });
    }

    fn named<T>(&mut self, key: &'static str, rule: &Rule<T>) -> Option<T> {
        let (origin, text) = self.sources.find(key)?;
        match rule.parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.reject_at(origin, format!("is \"{}\"; it {why}", shown(text)));
                None
            }
        }
    }

    fn reject_unknown_keys(&mut self) {
        for (origin, key) in self.sources.file_keys() {
            if self.rows.iter().any(|row| row.key == key) {
                continue;
            }
            self.reject_at(origin, unknown_key_text(key, &self.rows));
        }
    }

    /// Other programs may use the prefix (Kubernetes sets CAUSERIE_PORT for a service of that name), so only a name that is
    /// almost one of ours is taken for it.
    fn reject_misspelt_variables(&mut self) {
        for name in self.sources.variables() {
            let known = self.rows.iter().map(|row| row.variable.as_str());
            if let Some((meant, 1..=2)) = nearest(name, known) {
                let text = format!("is not known; {meant} is");
                self.problems.push(Problem { origin: Origin::Variable(name.to_owned()), text });
            }
        }
    }
}

fn unknown_key_text(key: &str, rows: &[Row]) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    if matches!(last, "key" | "api_key" | "apikey" | "mistral_api_key") {
        return "cannot be set here: put the key into a file of its own and name it in provider.key_file, or set \
                MISTRAL_API_KEY"
            .into();
    }
    let section = format!("{key}.");
    if rows.iter().any(|row| row.key.starts_with(&section)) {
        return format!("is a section, not a value: write [{key}] on a line of its own");
    }
    match nearest(key, rows.iter().map(|row| row.key)) {
        Some((meant, _)) => format!("is not a setting; the nearest one is {meant}"),
        None => "is not a setting".into(),
    }
}

fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let cut = if text.chars().count() > MOST { "…" } else { "" };
    text.chars().take(MOST).chain(cut.chars()).collect::<String>().escape_debug().to_string()
}
