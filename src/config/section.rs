//! The settings of one section, each under its name there.

use super::{
    key::Key,
    reader::{Reader, Row},
    rule::Rule,
};

/// Reads the settings of a section.
pub(super) struct Section<'r, 'a> {
    from: &'r mut Reader<'a>,
    key: Key,
    documented: bool,
}

impl<'r, 'a> Section<'r, 'a> {
    pub(super) fn new(from: &'r mut Reader<'a>, key: Key, documented: bool) -> Section<'r, 'a> {
        Section { from, key, documented }
    }

    /// Where the section stands.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether its settings have rows: the program's own sections have, those that an operator named have not.
    pub(super) fn is_documented(&self) -> bool {
        self.documented
    }

    pub(super) fn reader(&mut self) -> &mut Reader<'a> {
        self.from
    }

    /// A setting that always has a value.
    pub(super) fn get<T>(&mut self, name: &str, rule: Rule<T>, default: &'static str, help: &'static str) -> T {
        let key = self.describe(name, &rule, rule.allowed.clone(), default, help);
        let named = self.from.value(&key, &rule);
        named.unwrap_or_else(|| rule.parse(default).expect("a test holds that every default keeps its own rule"))
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, name: &str, rule: Rule<T>, help: &'static str) -> Option<T> {
        let key = self.describe(name, &rule, rule.allowed.clone(), "", help);
        self.from.value(&key, &rule)
    }

    /// A setting that has a value by default, or else must be named. None after a fault.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        rule: Rule<T>,
        default: Option<&'static str>,
        help: &'static str,
    ) -> Option<T> {
        if let Some(default) = default {
            return Some(self.get(name, rule, default, help));
        }
        let allowed = rule.allowed.clone();
        let value = self.optional(name, rule, help);
        if !self.names(name) {
            let section = self.key.clone();
            self.from.reject(&section, format!("has no {name}, which must be {allowed}"));
        }
        value
    }

    /// A setting with a list of values, of which each keeps the rule.
    pub(super) fn list<T>(&mut self, name: &str, rule: Rule<T>, help: &'static str) -> Option<Vec<T>> {
        let allowed = format!("a list; each is {}", rule.allowed);
        let key = self.describe(name, &rule, allowed, "", help);
        self.from.values(&key, &rule)
    }

    /// Whether any source names a value.
    pub(super) fn names(&self, name: &str) -> bool {
        self.from.is_named(&self.place(name))
    }

    /// Notes that a value is wrong, though it keeps its own rule.
    pub(super) fn reject(&mut self, name: &str, text: impl Into<String>) {
        let key = self.place(name);
        self.from.reject(&key, text);
    }

    fn place(&self, name: &str) -> Key {
        if self.key == Key::top() { Key::from(name) } else { self.key.name(name) }
    }

    fn describe<T>(
        &mut self,
        name: &str,
        rule: &Rule<T>,
        allowed: String,
        default: &'static str,
        help: &'static str,
    ) -> Key {
        let key = self.place(name);
        let row = self.documented.then(|| Row {
            key: key.to_string(),
            flag: key.flag(),
            variable: key.variable().unwrap_or_default(),
            default,
            allowed,
            value_name: rule.name,
            help,
        });
        self.from.add(&key, row);
        key
    }
}
