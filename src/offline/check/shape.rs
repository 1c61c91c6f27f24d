//! Tables of fields, and the walk that turns a mismatch into FastAPI's words.

use serde_json::{Map, Value, json};

/// A check of one value. It adds what it finds to the list.
pub(super) type Check = fn(&Value, &Path<'_>, &mut Violations);

/// One field of an object.
pub(super) struct Field {
    name: &'static str,
    required: bool,
    nullable: bool,
    rule: Rule,
}

/// What a field may hold.
pub(super) enum Rule {
    Anything,
    Text,
    Flag,
    Object,
    Texts,
    Integer {
        least: u64,
        most: u64,
    },
    /// `above`: the lower bound itself is refused.
    Number {
        low: f64,
        high: f64,
        above: bool,
    },
    OneOf(&'static [&'static str]),
    /// A list with an upper limit, each item checked.
    List {
        check: Check,
        most: usize,
    },
    Nested(Check),
}

impl Field {
    /// Must be there, and not null.
    pub(super) const fn required(name: &'static str, rule: Rule) -> Self {
        Self { name, required: true, nullable: false, rule }
    }

    /// Must be there, null allowed.
    pub(super) const fn present(name: &'static str, rule: Rule) -> Self {
        Self { name, required: true, nullable: true, rule }
    }

    /// May be left out, null refused.
    pub(super) const fn optional(name: &'static str, rule: Rule) -> Self {
        Self { name, required: false, nullable: false, rule }
    }

    /// May be left out or null.
    pub(super) const fn nullable(name: &'static str, rule: Rule) -> Self {
        Self { name, required: false, nullable: true, rule }
    }
}

/// The place of a value in the body: FastAPI's `loc`. It lives on the stack, so that a valid request allocates nothing.
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Path<'_> {
    /// A field of the object here.
    pub(super) fn key<'a>(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// An item of the list here.
    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    fn loc(&self) -> Vec<Value> {
        let mut loc = self.parent.map(Path::loc).unwrap_or_default();
        loc.push(match self.step {
            Step::Key(key) => json!(key),
            Step::Index(index) => json!(index),
        });
        loc
    }
}

/// Everything that is wrong with a request, as items of FastAPI's `detail`.
#[derive(Default)]
pub(super) struct Violations(Vec<Value>);

impl Violations {
    pub(super) fn add(&mut self, kind: &str, path: &Path<'_>, message: &str, input: &Value) {
        self.0.push(json!({"type": kind, "loc": path.loc(), "msg": message, "input": input}));
    }

    fn add_with(&mut self, kind: &str, path: &Path<'_>, message: &str, input: &Value, context: Value) {
        self.add(kind, path, message, input);
        if let Some(Value::Object(last)) = self.0.last_mut() {
            last.insert("ctx".to_owned(), context);
        }
    }
}

/// All violations of a body, none when it is fine.
pub(super) fn violations(body: &Value, check: Check) -> Vec<Value> {
    let mut out = Violations::default();
    check(body, &Path { parent: None, step: Step::Key("body") }, &mut out);
    out.0
}

/// An object with exactly these fields.
pub(super) fn object(value: &Value, path: &Path<'_>, out: &mut Violations, fields: &[Field]) {
    let Some(map) = value.as_object() else {
        return out.add("dict_type", path, "Input should be a valid dictionary", value);
    };
    for field in fields {
        check_field(map, field, path, out);
    }
    for (key, extra) in map {
        if !fields.iter().any(|field| field.name == key) {
            out.add("extra_forbidden", &path.key(key), "Extra inputs are not permitted", extra);
        }
    }
}

/// An object whose field `tag` says which of the tables holds; pydantic's discriminated union.
pub(super) fn tagged(value: &Value, path: &Path<'_>, out: &mut Violations, tag: &str, variants: &[(&str, &[Field])]) {
    let Some(found) = value.get(tag) else {
        let message = format!("Unable to extract tag using discriminator '{tag}'");
        return out.add("union_tag_not_found", path, &message, value);
    };
    match variants.iter().find(|(name, _)| found == name) {
        Some((name, fields)) => object(value, &path.key(name), out, fields),
        None => {
            let expected = quoted(variants.iter().map(|(name, _)| *name), ", ");
            let message =
                format!("Input tag {found} found using '{tag}' does not match any of the expected tags: {expected}");
            out.add("union_tag_invalid", path, &message, value);
        }
    }
}

/// A list of at most `most` items, each of which passes `check`.
pub(super) fn list(value: &Value, path: &Path<'_>, out: &mut Violations, check: Check, most: usize) {
    let Some(items) = value.as_array() else {
        return out.add("list_type", path, "Input should be a valid list", value);
    };
    if items.len() > most {
        let message = format!("List should have at most {most} items after validation, not {}", items.len());
        let context = json!({"field_type": "List", "max_length": most, "actual_length": items.len()});
        return out.add_with("too_long", path, &message, &Value::Null, context);
    }
    for (index, item) in items.iter().enumerate() {
        check(item, &path.index(index), out);
    }
}

/// A string.
pub(super) fn text(value: &Value, path: &Path<'_>, out: &mut Violations) {
    if !value.is_string() {
        out.add("string_type", path, "Input should be a valid string", value);
    }
}

fn check_field(map: &Map<String, Value>, field: &Field, path: &Path<'_>, out: &mut Violations) {
    match map.get(field.name) {
        None if field.required => {
            let whole = Value::Object(map.clone());
            out.add("missing", &path.key(field.name), "Field required", &whole);
        }
        None => {}
        Some(Value::Null) if field.nullable => {}
        Some(value) => rule(value, &field.rule, &path.key(field.name), out),
    }
}

/// One value against one rule.
pub(super) fn rule(value: &Value, rule: &Rule, path: &Path<'_>, out: &mut Violations) {
    match rule {
        Rule::Anything => {}
        Rule::Text => text(value, path, out),
        Rule::Texts => list(value, path, out, text, usize::MAX),
        Rule::Flag if value.is_boolean() => {}
        Rule::Flag => out.add("bool_type", path, "Input should be a valid boolean", value),
        Rule::Object if value.is_object() => {}
        Rule::Object => out.add("dict_type", path, "Input should be a valid dictionary", value),
        Rule::Integer { least, most } => integer(value, (*least, *most), path, out),
        Rule::Number { low, high, above } => number(value, (*low, *high), *above, path, out),
        Rule::OneOf(choices) => one_of(value, choices, path, out),
        Rule::List { check, most } => list(value, path, out, *check, *most),
        Rule::Nested(check) => check(value, path, out),
    }
}

fn integer(value: &Value, (least, most): (u64, u64), path: &Path<'_>, out: &mut Violations) {
    if !value.is_i64() && !value.is_u64() {
        return out.add("int_type", path, "Input should be a valid integer", value);
    }
    // What is no u64 is negative here, and so below any lower bound.
    match value.as_u64() {
        Some(found) if found > most => at_most(value, json!(most), path, out),
        Some(found) if found >= least => {}
        _ => at_least(value, json!(least), path, out),
    }
}

fn number(value: &Value, (low, high): (f64, f64), above: bool, path: &Path<'_>, out: &mut Violations) {
    let Some(found) = value.as_f64() else {
        return out.add("float_type", path, "Input should be a valid number", value);
    };
    if above && found <= low {
        let message = format!("Input should be greater than {low}");
        out.add_with("greater_than", path, &message, value, json!({"gt": low}));
    } else if found < low {
        at_least(value, json!(low), path, out);
    } else if found > high {
        at_most(value, json!(high), path, out);
    }
}

fn at_least(value: &Value, bound: Value, path: &Path<'_>, out: &mut Violations) {
    let message = format!("Input should be greater than or equal to {bound}");
    out.add_with("greater_than_equal", path, &message, value, json!({"ge": bound}));
}

fn at_most(value: &Value, bound: Value, path: &Path<'_>, out: &mut Violations) {
    let message = format!("Input should be less than or equal to {bound}");
    out.add_with("less_than_equal", path, &message, value, json!({"le": bound}));
}

fn one_of(value: &Value, choices: &[&str], path: &Path<'_>, out: &mut Violations) {
    if !choices.iter().any(|choice| value == choice) {
        let expected = quoted(choices.iter().copied(), " or ");
        let message = format!("Input should be {expected}");
        out.add_with("literal_error", path, &message, value, json!({"expected": expected}));
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>, separator: &str) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(separator)
}
