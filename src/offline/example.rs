//! A value that fits a JSON schema: the same one each time, with only what the schema requires.

use serde_json::{Map, Value, json};

/// Deeper than this, only null is made: a schema may contain itself.
const DEPTH_MAX: usize = 12;

/// Lists are not made longer than this, whatever `minItems` says.
const ITEMS_MAX: usize = 100;

/// A value for the schema. `name` is what text values are called after where nothing else is known.
pub(super) fn of(schema: &Value, name: &str) -> Value {
    Maker { root: schema }.value(schema, name, 0)
}

struct Maker<'a> {
    root: &'a Value,
}

impl Maker<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(given) = given(schema) {
            return given.clone();
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|link| self.root.pointer(link.strip_prefix('#')?)) {
            return self.value(target, name, depth + 1);
        }
        if let Some(first) = schema["anyOf"][0].as_object().or(schema["oneOf"][0].as_object()) {
            return self.value(&Value::Object(first.clone()), name, depth + 1);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.merged(parts, name, depth);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => json!(number(schema, 1.0, 1.0) as i64),
            "number" => json!(number(schema, 1.5, 0.5)),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(text(schema, name)),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Option<Vec<_>> =
            schema["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect());
        let mut made = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            // Where nothing is required an empty object would fit and show nothing.
            if required.as_ref().is_none_or(|names| names.contains(&name.as_str())) {
                made.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
        for name in required.into_iter().flatten() {
            if !made.contains_key(name) {
                made.insert(name.to_owned(), Value::String(text(&Value::Null, name)));
            }
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, name: &str, depth: usize) -> Value {
        let least = schema["minItems"].as_u64().unwrap_or(1);
        let count = usize::try_from(least).unwrap_or(ITEMS_MAX).clamp(0, ITEMS_MAX);
        Value::Array(vec![self.value(&schema["items"], name, depth + 1); count])
    }

    /// Of several schemas that all hold: the objects put together, or the first one that is no object.
    fn merged(&self, parts: &[Value], name: &str, depth: usize) -> Value {
        let mut all = Map::new();
        for part in parts {
            match self.value(part, name, depth + 1) {
                Value::Object(made) => all.extend(made),
                other => return other,
            }
        }
        Value::Object(all)
    }
}

fn given(schema: &Value) -> Option<&Value> {
    [&schema["const"], &schema["enum"][0], &schema["default"], &schema["examples"][0]]
        .into_iter()
        .find(|value| !value.is_null())
}

fn kind(schema: &Value) -> &str {
    let named = schema["type"]
        .as_str()
        .or_else(|| schema["type"].as_array()?.iter().filter_map(Value::as_str).find(|kind| *kind != "null"));
    match named {
        Some(kind) => kind,
        None if schema["properties"].is_object() => "object",
        None if schema["items"].is_object() => "array",
        None => "string",
    }
}

fn number(schema: &Value, usual: f64, step: f64) -> f64 {
    let bound = |key: &str| schema[key].as_f64();
    let low = bound("minimum").or(bound("exclusiveMinimum").map(|low| low + step));
    let high = bound("maximum").or(bound("exclusiveMaximum").map(|high| high - step));
    let value = usual.max(low.unwrap_or(usual));
    let value = value.min(high.unwrap_or(value));
    match bound("multipleOf") {
        Some(unit) if unit > 0.0 => (value / unit).ceil() * unit,
        _ => value,
    }
}

fn text(schema: &Value, name: &str) -> String {
    let made = match schema["format"].as_str() {
        Some("date") => "2026-01-01".to_owned(),
        Some("time") => "12:00:00Z".to_owned(),
        Some("date-time") => "2026-01-01T12:00:00Z".to_owned(),
        Some("email") => "someone@example.org".to_owned(),
        Some("uri" | "url") => "https://example.org/".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => format!("offline {name}"),
    };
    let bound = |key: &str| schema[key].as_u64().and_then(|length| usize::try_from(length).ok());
    let least = bound("minLength").unwrap_or(0).min(10_000);
    let padding = least.saturating_sub(made.chars().count());
    let most = bound("maxLength").unwrap_or(usize::MAX);
    made.chars().chain(std::iter::repeat_n('.', padding)).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_fits_its_schema() {
        for schema in [
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"minimum": 3}}, "required": ["a"]}),
            json!({"properties": {"a": {"type": "number", "maximum": 1}, "b": {"type": ["null", "boolean"]}}}),
            json!({"type": "array", "minItems": 2, "items": {"enum": ["x", "y"]}}),
            json!({"$ref": "#/$defs/p", "$defs": {"p": {"required": ["q"], "properties": {"q": {"maxLength": 3}}}}}),
            json!({"anyOf": [{"type": "integer", "exclusiveMinimum": 5}, {"type": "null"}]}),
            json!({"allOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}),
            json!({"type": "string", "minLength": 40}),
            json!({"type": "integer", "multipleOf": 7}),
            json!({"const": 5}),
            json!({}),
        ] {
            let made = of(&schema, "value");
            assert!(jsonschema::is_valid(&schema, &made), "{schema} {made}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(of(&schema, "value").is_object());
    }
}
