//! What arguments and answers have to be: a JSON Schema (Draft 7) that anybody may have written.
//!
//! References are replaced by what they name before anything is compiled, within bounds: a schema that refers to itself, or
//! doubles with each reference, would otherwise take for ever over a few bytes. Patterns run on an engine of linear time.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

/// For the schema once its references are replaced, in JSON values.
const MAX_VALUES: usize = 10_000;
/// For its texts, in bytes.
const MAX_TEXT: usize = 512 << 10;
const MAX_DEPTH: usize = 64;
const MAX_PATTERNS: usize = 32;
/// For one compiled pattern, in bytes.
const PATTERN_BYTES: usize = 256 << 10;
/// So many faults of a call are told.
const TOLD: usize = 5;
const TOLD_CHARS: usize = 300;
/// Other names of a schema, and what references lead to.
const LEFT_OUT: [&str; 9] =
    ["$id", "id", "$schema", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "definitions", "$defs"];

/// A schema that arguments and answers can be checked against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// What the schema says of properties, at its top and in the schemas that it combines there.
    properties: Vec<String>,
    /// What was compiled: JSON values, bytes of text, patterns.
    values: usize,
    text: usize,
    patterns: usize,
}

/// A check this small takes microseconds: values of the schema times bytes of arguments, each of them looked at by each at worst.
const AT_ONCE: usize = 1 << 15;
/// What a value of a schema takes, compiled.
const VALUE_BYTES: usize = 512;

impl Schema {
    /// Compiles a schema, or says what is wrong with it.
    pub fn new(schema: &Map<String, Value>) -> Result<Schema, String> {
        let root = Value::Object(schema.clone());
        let mut inliner = Inliner { root: &root, values: 0, text: 0, patterns: 0 };
        let whole = inliner.schema(&root, 0)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let options = jsonschema::options()
            .with_draft(Draft::Draft7)
            .with_pattern_options(patterns)
            // Draft 7 leaves that open, and what a format means is the server's to say.
            .should_validate_formats(false)
            .offline();
        let validator = options.build(&whole).map_err(|error| {
            format!(
                "cannot be checked against{}: {}",
                place(&error.instance_path().to_string()),
                cut(&error.masked().to_string())
            )
        })?;
        let mut properties = Vec::new();
        collect_properties(&whole, &mut properties);
        let Inliner { root: _, values, text, patterns } = inliner;
        Ok(Schema { validator, properties, values, text, patterns })
    }

    /// Whether the schema speaks of an argument of this name.
    pub(in crate::tools) fn has(&self, name: &str) -> bool {
        self.properties.iter().any(|property| property == name)
    }

    /// About what it takes of memory. A pattern may take twice what it is compiled to: the rest as it is used.
    pub(super) fn size_bytes(&self) -> usize {
        self.values * VALUE_BYTES + 2 * self.text + self.patterns * 2 * PATTERN_BYTES
    }

    /// Whether arguments of so many bytes are checked in microseconds. Nobody knows that of patterns.
    pub(super) fn checks_at_once(&self, arguments_bytes: usize) -> bool {
        self.patterns == 0 && self.values.saturating_mul(arguments_bytes) <= AT_ONCE
    }

    /// Says what does not fit, each fault with its place. Texts name rules, not values.
    pub fn check(&self, arguments: &Value) -> Result<(), String> {
        let mut faults = self.validator.iter_errors(arguments);
        let told: Vec<String> = faults
            .by_ref()
            .take(TOLD)
            .map(|error| format!("{}{}", at(&error.instance_path().to_string()), cut(&error.masked().to_string())))
            .collect();
        if told.is_empty() { Ok(()) } else { Err(told.join("; ")) }
    }
}

fn place(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {}", cut(path)) }
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{}: ", cut(path)) }
}

fn cut(text: &str) -> String {
    let end = text.char_indices().nth(TOLD_CHARS).map_or(text.len(), |(at, _)| at);
    format!("{}{}", &text[..end], if end < text.len() { "…" } else { "" })
}

fn collect_properties(schema: &Value, into: &mut Vec<String>) {
    let Value::Object(schema) = schema else { return };
    if let Some(Value::Object(properties)) = schema.get("properties") {
        into.extend(properties.keys().cloned());
    }
    for combined in ["allOf", "anyOf", "oneOf"] {
        let parts = schema.get(combined).and_then(Value::as_array);
        parts.into_iter().flatten().for_each(|part| collect_properties(part, into));
    }
}

/// Copies a schema without references.
struct Inliner<'a> {
    root: &'a Value,
    values: usize,
    text: usize,
    patterns: usize,
}

impl<'a> Inliner<'a> {
    fn schema(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        self.count(depth)?;
        let Value::Object(keywords) = schema else { return self.data(schema, depth) };
        // In Draft 7 nothing else counts beside a reference.
        if let Some(reference) = keywords.get("$ref") {
            let named = reference.as_str().and_then(|reference| self.target(reference));
            let named = named
                .ok_or("has a $ref that is not followed: only those into \"definitions\" of the same schema are")?;
            return self.schema(named, depth + 1);
        }
        let mut copy = Map::new();
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| !LEFT_OUT.contains(&keyword.as_str())) {
            let value = self.keyword(keyword, value, depth + 1)?;
            self.add_text(keyword)?;
            copy.insert(keyword.clone(), value);
        }
        Ok(Value::Object(copy))
    }

    fn keyword(&mut self, keyword: &str, value: &Value, depth: usize) -> Result<Value, String> {
        match (keyword, value) {
            ("properties" | "patternProperties" | "dependencies", Value::Object(schemas)) => {
                let mut copy = Map::new();
                for (name, schema) in schemas {
                    self.add_text(name)?;
                    if keyword == "patternProperties" {
                        self.add_pattern()?;
                    }
                    copy.insert(name.clone(), self.schema(schema, depth)?);
                }
                Ok(Value::Object(copy))
            }
            ("allOf" | "anyOf" | "oneOf" | "items", Value::Array(schemas)) => {
                schemas.iter().map(|schema| self.schema(schema, depth)).collect()
            }
            (
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "contains"
                | "propertyNames"
                | "not"
                | "if"
                | "then"
                | "else",
                schema,
            ) => self.schema(schema, depth),
            ("pattern", pattern) => {
                self.add_pattern()?;
                self.data(pattern, depth)
            }
            (_, data) => self.data(data, depth),
        }
    }

    fn data(&mut self, value: &Value, depth: usize) -> Result<Value, String> {
        self.weigh(value, depth)?;
        Ok(value.clone())
    }

    fn weigh(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.count(depth)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().try_for_each(|item| self.weigh(item, depth + 1)),
            Value::Object(map) => map.iter().try_for_each(|(name, item)| {
                self.add_text(name)?;
                self.weigh(item, depth + 1)
            }),
        }
    }

    /// What a pointer into the schema names. Other documents are not fetched, and other names of schemas are not kept.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
        self.root.pointer(pointer)
    }

    fn count(&mut self, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_VALUES || depth > MAX_DEPTH {
            return Err(too_large());
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) -> Result<(), String> {
        self.text += text.len();
        if self.text > MAX_TEXT { Err(too_large()) } else { Ok(()) }
    }

    fn add_pattern(&mut self) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS { Err(format!("has more than {MAX_PATTERNS} patterns")) } else { Ok(()) }
    }
}

fn too_large() -> String {
    "is too large or refers to itself: spell it out, in fewer words".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn schema(schema: Value) -> Result<Schema, String> {
        Schema::new(schema.as_object().expect("an object"))
    }

    #[test]
    fn faults_name_place_and_rule_but_no_value() {
        let schema = schema(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "http://a/b", "type": "object",
            "$defs": {"Unit": {"enum": ["C", "F"]}},
            "properties": {"unit": {"$ref": "#/$defs/Unit"}, "days": {"type": "integer", "minimum": 1}, "re": {"pattern": "^a\\d$"}},
            "required": ["unit"], "additionalProperties": false,
        }));
        let schema = schema.expect("a schema");
        assert!(schema.has("unit") && !schema.has("Unit"));
        assert_eq!(schema.check(&json!({"unit": "C", "days": 3, "re": "a1"})), Ok(()));
        for (arguments, told) in [
            (json!({"unit": "s3cret"}), "/unit: "),
            (json!({"unit": "C", "days": "s3cret"}), "/days: "),
            (json!({"unit": "C", "days": 0}), "minimum"),
            (json!({"unit": "C", "re": "s3cret"}), "/re: "),
            (json!({}), "\"unit\" is a required property"),
            (json!({"unit": "C", "more": 1}), "more"),
        ] {
            let fault = schema.check(&arguments).expect_err("it does not fit");
            assert!(fault.contains(told) && !fault.contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn hostile_schemas_are_refused_and_cost_little() {
        let started = Instant::now();
        let mut doubling = Map::new();
        for i in 0..64 {
            let next = format!("#/definitions/{}", i + 1);
            doubling.insert(i.to_string(), json!({"allOf": [{"$ref": next}, {"$ref": next}]}));
        }
        let long: Map<String, Value> = (0..5000)
            .map(|i| (i.to_string(), json!({"items": {"$ref": format!("#/definitions/{}", i + 1)}})))
            .collect();
        let patterns = |count: usize| -> Map<String, Value> {
            (0..count).map(|i| (format!("p{i}"), json!({"pattern": format!("((a{{1000}}){{1000}}){{{i}}}")}))).collect()
        };
        for hostile in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
            json!({"definitions": doubling, "$ref": "#/definitions/0"}),
            json!({"definitions": long, "$ref": "#/definitions/0"}),
            json!({"properties": patterns(1000)}),
            json!({"properties": patterns(30)}),
            json!({"properties": {"a": {"pattern": "(?=a)b"}}}),
            json!({"properties": {"a": {"$ref": "http://169.254.169.254/latest"}}}),
            json!({"properties": {"a": {"$ref": "#name", "$id": "#name"}}}),
            json!({"properties": {"a": {"enum": vec![1; 20_000]}}}),
            json!({"properties": {"a": {"type": "nonsense"}}}),
        ] {
            assert!(schema(hostile.clone()).is_err(), "{}", cut(&hostile.to_string()));
        }
        assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    }

    #[test]
    fn only_small_checks_are_made_at_once() {
        let plain = schema(json!({"properties": {"a": {"type": "string"}}, "required": ["a"]})).expect("a schema");
        assert!(plain.checks_at_once(100) && !plain.checks_at_once(100_000));
        let pattern = schema(json!({"properties": {"a": {"pattern": "^a$"}}})).expect("a schema");
        assert!(!pattern.checks_at_once(1));
        let many = schema(json!({"properties": {"a": {"enum": vec![1; 5_000]}}})).expect("a schema");
        assert!(!many.checks_at_once(100));
        assert!(pattern.size_bytes() > PATTERN_BYTES && many.size_bytes() > plain.size_bytes());
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let schema = schema(json!({"properties": {"a": {"pattern": "^(a+)+$"}}})).expect("a schema");
        let started = Instant::now();
        assert!(schema.check(&json!({"a": "a".repeat(50_000) + "b"})).is_err());
        assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    }
}
