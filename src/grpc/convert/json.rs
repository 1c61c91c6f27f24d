//! JSON in protobuf: `google.protobuf.Struct` to and from `serde_json`.

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{Map, Number, Value};

use super::{path::Path, violations::Violations};

/// How deep objects and lists may stand in each other. Decoders stop at 100 nested messages; an object costs three, and an
/// export wraps a schema in seven more, so what is taken here can be imported again.
pub(super) const MAX_DEPTH: usize = 28;

/// Below this, a double holds every whole number exactly.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A JSON object. Whole numbers become JSON integers: a schema's `"minimum": 1` must not become 1.0 on its way.
pub(super) fn read(at: &Path<'_>, object: Struct, violations: &mut Violations) -> Option<Map<String, Value>> {
    match read_object(object, 1) {
        Ok(map) => Some(map),
        Err(Problem::Depth) => {
            violations.add(at, format_args!("must be at most {MAX_DEPTH} objects and lists deep: flatten it"));
            None
        }
        Err(Problem::NotFinite) => {
            violations.add(at, format_args!("must hold finite numbers only: JSON has no NaN and no infinity"));
            None
        }
        Err(Problem::NoKind) => {
            violations.add(at, format_args!("has a value of no kind: set each value, null included"));
            None
        }
    }
}

/// The object as the wire has it.
pub(super) fn write(object: &Map<String, Value>) -> Struct {
    Struct { fields: object.iter().map(|(key, value)| (key.clone(), write_value(value))).collect() }
}

enum Problem {
    Depth,
    NotFinite,
    NoKind,
}

fn read_object(object: Struct, depth: usize) -> Result<Map<String, Value>, Problem> {
    let Struct { fields } = object;
    if depth > MAX_DEPTH {
        return Err(Problem::Depth);
    }
    fields.into_iter().map(|(key, value)| Ok((key, read_value(value, depth)?))).collect()
}

fn read_list(list: ListValue, depth: usize) -> Result<Vec<Value>, Problem> {
    let ListValue { values } = list;
    if depth > MAX_DEPTH {
        return Err(Problem::Depth);
    }
    values.into_iter().map(|value| read_value(value, depth)).collect()
}

fn read_value(value: ProtoValue, depth: usize) -> Result<Value, Problem> {
    let ProtoValue { kind } = value;
    match kind.ok_or(Problem::NoKind)? {
        Kind::NullValue(_) => Ok(Value::Null),
        Kind::NumberValue(number) => read_number(number).map(Value::Number),
        Kind::StringValue(text) => Ok(Value::String(text)),
        Kind::BoolValue(value) => Ok(Value::Bool(value)),
        Kind::StructValue(object) => read_object(object, depth + 1).map(Value::Object),
        Kind::ListValue(list) => read_list(list, depth + 1).map(Value::Array),
    }
}

fn read_number(number: f64) -> Result<Number, Problem> {
    if number.fract() == 0.0 && number.abs() < WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within what both types hold exactly")]
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or(Problem::NotFinite)
}

fn write_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        // Every number of serde_json has a double next to it.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(write_value).collect() }),
        Value::Object(object) => Kind::StructValue(write(object)),
    };
    ProtoValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Value as ProtoValue, value::Kind};
    use serde_json::{Map, Value, json};

    use super::{MAX_DEPTH, read, write};
    use crate::{
        domain::Failure,
        grpc::convert::{
            path::Path,
            violations::{self, Rules},
        },
    };

    fn back(object: Struct) -> Result<Map<String, Value>, Failure> {
        violations::read(Rules::All, |v| read(&Path::root("schema"), object, v))
    }

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let map = object(
            json!({"minimum": 1, "maximum": -7, "multipleOf": 0.5, "big": 1e300, "list": [null, true, "x", {}]}),
        );
        let text = serde_json::to_string(&back(write(&map)).expect("valid")).expect("JSON");
        assert!(text.contains("\"minimum\":1,"), "{text}");
        assert_eq!(back(write(&map)).expect("valid"), map);
    }

    #[test]
    fn depth_kinds_and_numbers_are_checked() {
        let nested =
            |depth| (1..depth).fold(Map::new(), |map, _| Map::from_iter([("a".to_owned(), Value::Object(map))]));
        assert!(back(write(&nested(MAX_DEPTH))).is_ok());
        assert_eq!(back(write(&nested(MAX_DEPTH + 1))).expect_err("too deep").violations[0].field, "schema");
        for kind in [None, Some(Kind::NumberValue(f64::NAN)), Some(Kind::NumberValue(f64::NEG_INFINITY))] {
            let fields = [("a".to_owned(), ProtoValue { kind })].into();
            assert_eq!(back(Struct { fields }).expect_err("no JSON").violations.len(), 1);
        }
    }
}
