//! JSON Schemas of callers, checked against Draft 7's own schema before a provider sees them.
//!
//! A caller's schema is never compiled: patterns that take minutes to compile, references that recurse, and references to
//! other hosts cost nothing then. That its references lead somewhere is checked here.

use jsonschema::draft7;
use prost::Message;
use prost_types::Struct;
use serde_json::{Map, Value};

use super::{json, path::Path, violations::Violations};

/// Larger schemas fill a model's context before the conversation begins.
const MAX_BYTES: usize = 256 << 10;
/// So much of a place in a schema is told.
const MAX_PLACE: usize = 200;

/// A JSON Schema.
pub(super) fn read(at: &Path<'_>, schema: Struct, violations: &mut Violations) -> Option<Map<String, Value>> {
    let size = schema.encoded_len();
    if size > MAX_BYTES {
        violations.add(at, format_args!("must be at most {MAX_BYTES} bytes, has {size}: shorten the schema"));
        return None;
    }
    let schema = Value::Object(json::read(at, schema, violations)?);
    if let Err(error) = draft7::meta::validate(&schema) {
        let place = error.instance_path().to_string();
        // Masked: the message names the rule, not the caller's value.
        violations.add(at, format_args!("is no JSON Schema (Draft 7){}: {}", told(&place), error.masked()));
        return None;
    }
    if let Some(fault) = dangling(&schema, &schema) {
        violations.add(at, format_args!("{fault}"));
        return None;
    }
    match schema {
        Value::Object(map) => Some(map),
        // It was made from an object above.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// The JSON Schema of a function's arguments: an object, which is all that providers take. `{}` is a function without any.
pub(super) fn read_arguments(at: &Path<'_>, schema: Struct, violations: &mut Violations) -> Option<Map<String, Value>> {
    let map = read(at, schema, violations)?;
    if map.is_empty() || map.get("type").is_some_and(|kind| kind == "object") {
        return Some(map);
    }
    violations.add(at, format_args!("must be the schema of an object: set \"type\": \"object\" at its top"));
    None
}

fn told(place: &str) -> String {
    let end = place.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= MAX_PLACE).last();
    end.map_or_else(String::new, |end| format!(" at {}{}", &place[..end], if end < place.len() { "…" } else { "" }))
}

/// What is wrong with the first reference that leads nowhere, in the schema `here` within `root`.
fn dangling(root: &Value, here: &Value) -> Option<&'static str> {
    let Value::Object(schema) = here else { return None };
    let own = schema.get("$ref").and_then(Value::as_str).and_then(|reference| fault(root, reference));
    own.or_else(|| {
        schema.iter().find_map(|(keyword, value)| subschemas(keyword, value).find_map(|s| dangling(root, s)))
    })
}

fn fault(root: &Value, reference: &str) -> Option<&'static str> {
    let Some(fragment) = reference.strip_prefix('#') else {
        return Some("has a $ref to another document, which is not fetched: put that schema under \"definitions\"");
    };
    // A name instead of a pointer (`"$id": "#name"`) is the provider's to resolve.
    let is_pointer = fragment.is_empty() || fragment.starts_with('/');
    let found = !is_pointer || fragment.contains('%') || root.pointer(fragment).is_some();
    (!found).then_some("has a $ref that leads nowhere in it: define what it names under \"definitions\"")
}

/// The schemas under a keyword. What stands under other keywords (enum, const, default, examples) is data.
fn subschemas<'a>(keyword: &str, value: &'a Value) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
    match (keyword, value) {
        (
            "properties" | "patternProperties" | "definitions" | "$defs" | "dependencies" | "dependentSchemas",
            Value::Object(schemas),
        ) => Box::new(schemas.values()),
        ("allOf" | "anyOf" | "oneOf" | "items" | "prefixItems", Value::Array(schemas)) => Box::new(schemas.iter()),
        (
            "items"
            | "additionalItems"
            | "additionalProperties"
            | "contains"
            | "propertyNames"
            | "not"
            | "if"
            | "then"
            | "else"
            | "unevaluatedItems"
            | "unevaluatedProperties",
            schema,
        ) => Box::new(std::iter::once(schema)),
        (_, _) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MAX_BYTES, read, read_arguments};
    use crate::grpc::convert::{
        json,
        path::Path,
        violations::{self, Rules},
    };

    fn fault(schema: Value) -> Option<String> {
        let schema = json::write(&serde_json::from_value(schema).expect("an object"));
        let read = violations::read(Rules::All, |v| read_arguments(&Path::root("parameters"), schema, v));
        read.err().map(|failure| failure.violations[0].description.clone())
    }

    #[test]
    fn schemas_that_clients_send_are_taken() {
        let pydantic = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "title": "Args",
            "$defs": {"Unit": {"enum": ["C", "F"], "type": "string"}, "Tree": {"items": {"$ref": "#/$defs/Tree"}}},
            "properties": {"unit": {"$ref": "#/$defs/Unit"}, "$ref": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["unit"], "additionalProperties": false,
        });
        assert_eq!(fault(pydantic), None);
        assert_eq!(fault(json!({})), None);
        assert_eq!(fault(json!({"type": "object", "default": {"$ref": "http://example.com/data"}})), None);
    }

    #[test]
    fn what_is_no_schema_is_told_without_its_content() {
        let told = fault(json!({"type": "object", "properties": {"a": {"type": "s3cret"}}})).expect("refused");
        assert!(told.contains("/properties/a/type") && !told.contains("s3cret"), "{told}");
        assert!(fault(json!({"type": "string"})).expect("refused").contains("object"));
        assert!(fault(json!({"type": "object", "properties": {"a": {"pattern": "("}}})).is_some());
    }

    #[test]
    fn references_stay_in_the_schema_and_lead_somewhere() {
        let with = |reference: &str| json!({"type": "object", "properties": {"a": {"items": [{"$ref": reference}]}}});
        assert!(fault(with("http://169.254.169.254/latest")).expect("refused").contains("not fetched"));
        assert!(fault(with("#/definitions/missing")).expect("refused").contains("nowhere"));
        assert_eq!(fault(with("#")), None);
    }

    #[test]
    fn hostile_schemas_cost_little() {
        let started = std::time::Instant::now();
        let patterns: serde_json::Map<_, _> =
            (0..3000).map(|i| (format!("p{i}"), json!({"pattern": format!("((a{{1000}}){{1000}}){{{i}}}")}))).collect();
        assert_eq!(fault(json!({"type": "object", "properties": patterns})), None);
        let names: Vec<String> = (0..30_000).map(|i| i.to_string()).collect();
        assert_eq!(fault(json!({"type": "object", "required": names})), None);
        assert!(fault(json!({"type": "object", "title": "x".repeat(MAX_BYTES)})).expect("refused").contains("262144"));
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "took {:?}", started.elapsed());
    }

    #[test]
    fn a_schema_of_an_answer_need_not_be_an_object() {
        let schema = json::write(&serde_json::from_value(json!({"type": "array"})).expect("an object"));
        assert!(violations::read(Rules::All, |v| read(&Path::root("schema"), schema, v)).is_ok());
    }
}
