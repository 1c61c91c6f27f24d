//! Reads settings one by one, and remembers which there are and what was wrong.

use super::{
    key::Key,
    problem::{ConfigError, Problem},
    rule::Rule,
    section::Section,
    source::{Found, Origin, Sources},
    unknown,
};

/// A setting, as the help and the README's table show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key in the file: `section.name`, or a name at the top.
    pub key: String,
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
    known: Known,
    problems: Vec<Problem>,
}

/// The places that were asked for: what else stands in the file is a mistake.
#[derive(Default)]
pub(super) struct Known {
    /// Settings with a value.
    pub(super) settings: Vec<Key>,
    /// Sections that may be empty.
    pub(super) sections: Vec<Key>,
    /// Arrays of sections.
    pub(super) arrays: Vec<Key>,
    /// Sections that may hold anything.
    pub(super) open: Vec<Key>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Reader<'a> {
        Reader { sources, rows: Vec::new(), known: Known::default(), problems: sources.problems().to_vec() }
    }

    /// A setting that always has a value.
    pub(super) fn get<T>(&mut self, key: &str, rule: Rule<T>, default: &'static str, help: &'static str) -> T {
        self.documented(Key::top()).get(key, rule, default, help)
    }

    /// A setting with a list of values, of which each keeps the rule; empty by default.
    pub(super) fn list<T>(&mut self, key: &str, rule: Rule<T>, help: &'static str) -> Vec<T> {
        self.documented(Key::top()).list(key, rule, help).unwrap_or_default()
    }

    /// A section whose settings have a flag and a row in the README's table.
    pub(super) fn documented(&mut self, key: Key) -> Section<'_, 'a> {
        Section::new(self, key, true)
    }

    /// A section with a name that the operator chose: of the file, and as far as its keys have variables, of these.
    pub(super) fn named(&mut self, key: Key) -> Section<'_, 'a> {
        self.known.sections.push(key.clone());
        Section::new(self, key, false)
    }

    /// The names of the sections that stand in this one.
    pub(super) fn sections_in(&mut self, key: &Key) -> Vec<String> {
        self.known.sections.push(key.clone());
        let inside = self.sources.file().iter().filter(|item| item.is_section());
        inside.filter_map(|item| item.key.name_in(key)).map(str::to_owned).collect()
    }

    /// The names of the values that stand in this section.
    pub(super) fn values_in(&mut self, key: &Key) -> Vec<String> {
        self.known.sections.push(key.clone());
        let inside = self.sources.file().iter().filter(|item| !item.is_section());
        inside.filter_map(|item| item.key.name_in(key)).map(str::to_owned).collect()
    }

    /// A section that may hold anything, as JSON; `None`: it is not there, or is no section.
    pub(super) fn json(&mut self, key: &Key) -> Option<serde_json::Value> {
        let found = self.sources.file().iter().find(|item| item.key == *key)?.json.clone()?;
        self.known.open.push(key.clone());
        Some(found)
    }

    /// How many sections the array of this name has.
    pub(super) fn array_len(&mut self, key: &Key) -> usize {
        self.known.arrays.push(key.clone());
        self.sources.file().iter().find(|item| item.key == *key).map_or(0, |item| item.sections_count())
    }

    /// An environment variable that is not a setting.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        self.sources.variable(name)
    }

    /// Whether any source names a value.
    pub(super) fn is_named(&self, key: &Key) -> bool {
        self.sources.find(key).is_some()
    }

    /// Notes that a value or a section is wrong, though each of its parts keeps its own rule. Where the text should show the
    /// value, it does so itself.
    pub(super) fn reject(&mut self, key: &Key, text: impl Into<String>) {
        let origin = self.sources.find(key).map_or_else(|| Origin::Default(key.to_string()), |(origin, _)| origin);
        self.reject_at(origin, text);
    }

    /// The same, for what is not a setting.
    pub(super) fn reject_at(&mut self, origin: Origin, text: impl Into<String>) {
        self.problems.push(Problem { origin, text: text.into() });
    }

    /// Remembers a setting; those with a row are shown to people.
    pub(super) fn add(&mut self, key: &Key, row: Option<Row>) {
        self.known.settings.push(key.clone());
        self.rows.extend(row);
    }

    /// The value that the first source names, if it keeps the rule.
    pub(super) fn value<T>(&mut self, key: &Key, rule: &Rule<T>) -> Option<T> {
        match self.sources.find(key)? {
            (origin, Found::Text(text)) => self.parsed(origin, text, rule),
            (origin, Found::List(_)) => {
                self.reject_at(origin, "must be a text in quotes, a number, true or false, not a list");
                None
            }
            // Told when the file is looked through for what does not belong there.
            (_, Found::Section) => None,
        }
    }

    /// The same for a list. Flags and variables separate its values by commas.
    pub(super) fn values<T>(&mut self, key: &Key, rule: &Rule<T>) -> Option<Vec<T>> {
        let (origin, texts) = match self.sources.find(key)? {
            (origin @ Origin::File { .. }, Found::Text(_)) => {
                self.reject_at(origin, "must be a list, such as [\"a\", \"b\"]");
                return None;
            }
            (origin, Found::Text(text)) => (origin, text.split(',').map(str::trim).collect::<Vec<_>>()),
            (origin, Found::List(texts)) => (origin, texts.iter().map(String::as_str).collect()),
            (_, Found::Section) => return None,
        };
        Some(texts.into_iter().filter_map(|text| self.parsed(origin.clone(), text, rule)).collect())
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Looks for names that no setting has, and gives all problems there were.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        self.problems.extend(unknown::in_file(self.sources, &self.known));
        self.problems.extend(unknown::in_environment(self.sources, &self.known));
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    fn parsed<T>(&mut self, origin: Origin, text: &str, rule: &Rule<T>) -> Option<T> {
        match rule.parse(text) {
            Ok(value) => Some(value),
            // An address may hold a password or a key.
            Err(why) if rule.is_hidden() || (text.contains("://") && text.contains(['@', '?', '#'])) => {
                self.reject_at(origin, why);
                None
            }
            Err(why) => {
                self.reject_at(origin, format!("is \"{}\"; it {why}", shown(text)));
                None
            }
        }
    }
}

fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let cut = if text.chars().count() > MOST { "…" } else { "" };
    text.chars().take(MOST).chain(cut.chars()).collect::<String>().escape_debug().to_string()
}
