//! The configuration file, as a flat list of what stands in it.

use std::path::{Path, PathBuf};

use toml::{Spanned, de::DeTable, de::DeValue};

use super::{key::Key, problem::Problem, source::Origin};

/// Something that stands in the file.
#[derive(Debug)]
pub(super) struct FileValue {
    pub(super) key: Key,
    pub(super) origin: Origin,
    pub(super) value: Value,
    /// The same as JSON, if it is a section: what stands in some of them is not the program's to know.
    pub(super) json: Option<serde_json::Value>,
}

/// What stands there. Numbers are kept as they are written, so that prices stay exact and faults show them so: 0.10, 0x10.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    /// A section or an inline table; what it holds follows in the list.
    Section,
    /// So many sections of one name; what they hold follows in the list.
    Sections(usize),
}

impl FileValue {
    pub(super) fn is_section(&self) -> bool {
        matches!(self.value, Value::Section | Value::Sections(_))
    }

    /// How many sections of this name there are, if there may be several.
    pub(super) fn sections_count(&self) -> usize {
        match self.value {
            Value::Sections(count) => count,
            Value::Text(_) | Value::List(_) | Value::Section => 0,
        }
    }
}

/// The file's values in its order of names, each section before what it holds, and what could not be read.
pub(super) fn read(path: &Path, text: &str) -> (Vec<FileValue>, Vec<Problem>) {
    let mut file = File { path, text, values: Vec::new(), problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => file.add_table(&Key::top(), table.get_ref()),
        Err(error) => {
            let line = file.line_at(error.span().map_or(0, |span| span.start));
            let text = format!("is not TOML: line {line}: {}", error.message());
            file.problems.push(Problem { origin: Origin::WholeFile(PathBuf::from(path)), text });
        }
    }
    (file.values, file.problems)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    values: Vec<FileValue>,
    problems: Vec<Problem>,
}

impl File<'_> {
    fn add_table(&mut self, section: &Key, table: &DeTable<'_>) {
        for (name, value) in table {
            self.add_value(section.name(name.get_ref()), name.span().start, value);
        }
    }

    fn add_value(&mut self, key: Key, offset: usize, value: &Spanned<DeValue<'_>>) {
        if let Some(text) = text_of(value.get_ref()) {
            return self.add(key, offset, Value::Text(text));
        }
        match value.get_ref() {
            DeValue::Table(table) => {
                self.add(key.clone(), offset, Value::Section);
                self.values.last_mut().expect("it was just added").json = Some(json_of(value.get_ref()));
                self.add_table(&key, table);
            }
            DeValue::Array(array) => {
                let sections: Option<Vec<_>> =
                    array.iter().map(|item| Some((item, item.get_ref().as_table()?))).collect();
                let texts: Option<Vec<_>> = array.iter().map(|item| text_of(item.get_ref())).collect();
                match (texts, sections) {
                    (Some(texts), _) => self.add(key, offset, Value::List(texts)),
                    (None, Some(sections)) => {
                        self.add(key.clone(), offset, Value::Sections(sections.len()));
                        for (index, (item, table)) in sections.into_iter().enumerate() {
                            self.add(key.index(index), item.span().start, Value::Section);
                            self.add_table(&key.index(index), table);
                        }
                    }
                    (None, None) => self.reject(&key, offset, "must be a list of texts, or of sections, not of both"),
                }
            }
            _ => self.reject(&key, offset, "must be a text in quotes, a number, true or false"),
        }
    }

    fn add(&mut self, key: Key, offset: usize, value: Value) {
        let origin = self.origin(&key, offset);
        self.values.push(FileValue { key, origin, value, json: None });
    }

    fn reject(&mut self, key: &Key, offset: usize, text: &str) {
        let origin = self.origin(key, offset);
        self.problems.push(Problem { origin, text: text.to_owned() });
    }

    fn origin(&self, key: &Key, offset: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line_at(offset), key: key.to_string() }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The value as JSON. Times become texts, and so do numbers that JSON does not have.
fn json_of(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(name, value)| (name.get_ref().to_string(), json_of(value.get_ref()))).collect()
        }
        DeValue::Boolean(on) => (*on).into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => number_of(number.as_str()),
        },
        DeValue::Float(number) => number_of(&number.to_string()),
        DeValue::String(text) => text.to_string().into(),
        DeValue::Datetime(time) => time.to_string().into(),
    }
}

fn number_of(text: &str) -> serde_json::Value {
    let plain = text.replace('_', "");
    let number = serde_json::from_str::<serde_json::Number>(plain.trim_start_matches('+'));
    number.map_or_else(|_| text.into(), serde_json::Value::Number)
}
