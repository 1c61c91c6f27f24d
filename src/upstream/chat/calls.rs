//! Function calls while they come in. Mistral's models send each whole, others piece by piece, some without an index or with the
//! same one for all.

use serde_json::Value;

use super::wire;
use crate::upstream::Piece;

/// What a call counts towards the output limit beside its texts: it becomes an entry, and each piece is compared with all calls.
const CALL_BYTES: usize = 256;

/// The calls of one answer, in the order in which they began.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
}

struct Call {
    wire_index: Option<u32>,
    wire_id: Option<String>,
    named: bool,
    /// Arguments that came before the name; a piece without a name can only continue a call.
    held: String,
}

impl Calls {
    /// Takes a piece of a call, the one at `position` of `of` pieces that came together. `None`: it tells nothing new yet.
    pub(super) fn take(&mut self, part: wire::ToolCallPart, position: usize, of: usize) -> Option<Piece> {
        let wire::ToolCallPart { index: wire_index, id, function } = part;
        let function = function.unwrap_or(wire::FunctionPart { name: None, arguments: None });
        let name = function.name.filter(|name| !name.is_empty());
        let arguments = function.arguments.map(json_text).unwrap_or_default();
        // Mistral's default id is the text "null".
        let wire_id = id.filter(|id| !id.is_empty() && id != "null");

        let found = match (wire_index, &wire_id) {
            (Some(_), _) => self.calls.iter().rposition(|call| call.wire_index == wire_index),
            (None, Some(_)) => self.calls.iter().rposition(|call| call.wire_id == wire_id),
            (None, None) if name.is_some() => None,
            (None, None) if of > 1 => Some(position),
            (None, None) => self.calls.len().checked_sub(1),
        };
        let found = found.filter(|at| {
            let other = |call: &Call| call.wire_id.is_some() && wire_id.is_some() && call.wire_id != wire_id;
            self.calls.get(*at).is_some_and(|call| !(name.is_some() && other(call)))
        });
        let at = found.unwrap_or_else(|| {
            self.calls.push(Call { wire_index, wire_id, named: false, held: String::new() });
            self.calls.len() - 1
        });
        self.calls[at].take(at, name, arguments)
    }

    /// What they count towards the output limit beside their texts.
    pub(super) fn size_bytes(&self) -> usize {
        self.calls.len() * CALL_BYTES
    }

    /// Whether there is a call.
    pub(super) fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether every call has its name.
    pub(super) fn all_named(&self) -> bool {
        self.calls.iter().all(|call| call.named)
    }
}

impl Call {
    fn take(&mut self, at: usize, name: Option<String>, arguments: String) -> Option<Piece> {
        // No answer that keeps to the size limit has 2³² calls.
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        if self.named {
            return (!arguments.is_empty()).then_some(Piece::Call { index, name: None, arguments });
        }
        self.held.push_str(&arguments);
        self.named = name.is_some();
        name.map(|name| Piece::Call { index, name: Some(name), arguments: std::mem::take(&mut self.held) })
    }
}

/// What a piece of a call counts towards the output limit, whatever becomes of it: arguments may be held for long, and an
/// empty piece takes room too.
pub(super) fn size_bytes(part: &wire::ToolCallPart) -> usize {
    let wire::ToolCallPart { index: _, id, function } = part;
    let (name, arguments) = match function {
        Some(wire::FunctionPart { name, arguments }) => (name.as_ref(), arguments.as_ref()),
        None => (None, None),
    };
    let arguments = match arguments {
        Some(Value::String(text)) => text.len(),
        Some(Value::Null) | None => 0,
        Some(other) => other.to_string().len(),
    };
    1 + id.as_ref().map_or(0, String::len) + name.map_or(0, String::len) + arguments
}

/// Arguments as JSON text, whichever way they come.
pub(in crate::upstream) fn json_text(arguments: Value) -> String {
    match arguments {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The calls that these pieces make: (name, arguments).
    fn gathered(deltas: &[Value]) -> Vec<(String, String)> {
        let mut calls = Calls::default();
        let mut found: Vec<(String, String)> = Vec::new();
        for delta in deltas {
            let parts: Vec<wire::ToolCallPart> = serde_json::from_value(delta.clone()).expect("pieces of calls");
            let of = parts.len();
            for (position, part) in parts.into_iter().enumerate() {
                let Some(Piece::Call { index, name, arguments }) = calls.take(part, position, of) else { continue };
                match name {
                    Some(name) => {
                        assert_eq!(index as usize, found.len(), "a name begins a call");
                        found.push((name, arguments));
                    }
                    None => found[index as usize].1.push_str(&arguments),
                }
            }
        }
        assert!(calls.all_named());
        found
    }

    fn piece(index: Option<u32>, id: &str, name: &str, arguments: Value) -> Value {
        json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } })
    }

    #[test]
    fn calls_are_told_apart_however_they_come() {
        let two = [("a".to_owned(), r#"{"x":1}"#.to_owned()), ("b".to_owned(), "{}".to_owned())];
        let rows: [(&str, Vec<Value>); 7] = [
            (
                "whole, by index",
                vec![json!([piece(Some(0), "id1", "a", json!(r#"{"x":1}"#)), piece(Some(1), "id2", "b", json!("{}"))])],
            ),
            (
                "objects",
                vec![json!([piece(Some(0), "id1", "a", json!({ "x": 1 })), piece(Some(1), "id2", "b", json!({}))])],
            ),
            (
                "piece by piece",
                vec![
                    json!([piece(Some(0), "null", "a", json!(""))]),
                    json!([piece(Some(0), "null", "", json!(r#"{"x""#))]),
                    json!([piece(Some(1), "null", "b", json!("{"))]),
                    json!([piece(Some(0), "null", "", json!(":1}")), piece(Some(1), "null", "", json!("}"))]),
                ],
            ),
            (
                "no index, one at a time",
                vec![
                    json!([piece(None, "", "a", json!(r#"{"x""#))]),
                    json!([piece(None, "", "", json!(":1}"))]),
                    json!([piece(None, "", "b", json!("{}"))]),
                ],
            ),
            (
                "no index, side by side",
                vec![
                    json!([piece(None, "", "a", json!(r#"{"x""#)), piece(None, "", "b", json!("{"))]),
                    json!([piece(None, "", "", json!(":1}")), piece(None, "", "", json!("}"))]),
                ],
            ),
            (
                "one index for all, ids differ",
                vec![
                    json!([piece(Some(0), "id1", "a", json!(r#"{"x":1}"#))]),
                    json!([piece(Some(0), "id2", "b", json!("{}"))]),
                ],
            ),
            (
                "the name comes late and again",
                vec![
                    json!([piece(Some(0), "id1", "", json!(r#"{"x""#))]),
                    json!([piece(Some(0), "id1", "a", json!(":1"))]),
                    json!([piece(Some(0), "id1", "a", json!("}"))]),
                    json!([piece(Some(7), "id2", "b", json!("{}"))]),
                ],
            ),
        ];
        for (row, deltas) in rows {
            assert_eq!(gathered(&deltas), two, "{row}");
        }
    }
}
