//! Mistral's JSON: the whole answer, and the chunks of a stream.

use serde_json::{Value, json};

use super::answer::Answer;
use super::calls::Call;
use super::identity::Dice;
use super::models::{self, CREATED_S};
use super::usage::Usage;

/// What every message about one completion repeats.
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) usage: Usage,
}

impl Envelope {
    /// The answer to a request without `stream`.
    pub(super) fn complete(&self, answers: &[Answer]) -> Value {
        let choices: Vec<_> = answers.iter().enumerate().map(|(index, answer)| choice(index, answer)).collect();
        json!({
            "id": self.id,
            "created": CREATED_S,
            "model": self.model,
            "usage": self.usage.to_json(),
            "object": "chat.completion",
            "choices": choices,
        })
    }

    /// The chunks of a stream, without their `p`. The choices take turns; the last chunk has the usage.
    pub(super) fn chunks(&self, answers: &[Answer]) -> Vec<Value> {
        let mut streams: Vec<_> = answers.iter().map(|answer| self.deltas(answer).into_iter()).collect();
        let mut chunks = Vec::new();
        loop {
            let before = chunks.len();
            for (index, stream) in streams.iter_mut().enumerate() {
                if let Some((delta, finish)) = stream.next() {
                    chunks.push(self.chunk(index, &delta, finish));
                }
            }
            if chunks.len() == before {
                break;
            }
        }
        if let Some(last) = chunks.last_mut() {
            last["usage"] = self.usage.to_json();
        }
        chunks
    }

    fn chunk(&self, index: usize, delta: &Value, finish: Option<&str>) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED_S,
            "model": self.model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        })
    }

    /// The deltas of one choice, each with its finish reason; only the last one has one.
    fn deltas<'a>(&self, answer: &'a Answer) -> Vec<(Value, Option<&'a str>)> {
        let finish = Some(answer.finish.as_str());
        let mut deltas = vec![(json!({"role": "assistant", "content": ""}), None)];
        deltas.extend(content_deltas(answer).into_iter().map(|content| (json!({"content": content}), None)));
        if answer.calls.is_empty() {
            deltas.push((json!({"content": ""}), finish));
        } else if models::reasons(&self.model) {
            let pieces = answer.calls.iter().enumerate().flat_map(|(index, call)| call_pieces(index, call));
            deltas.extend(pieces.map(|piece| (json!({"tool_calls": [piece]}), None)));
            deltas.push((json!({"content": ""}), finish));
        } else {
            deltas.push((json!({"content": "", "tool_calls": whole_calls(&answer.calls)}), finish));
        }
        deltas
    }
}

/// Adds the padding and the SSE frame.
pub(super) fn frame(mut chunk: Value, dice: &mut Dice) -> String {
    chunk["p"] = Value::String(dice.padding());
    format!("data: {chunk}\n\n")
}

fn choice(index: usize, answer: &Answer) -> Value {
    let content = match answer.thinking.is_empty() {
        true => json!(answer.content),
        false if answer.content.is_empty() => json!([thinking(&answer.thinking, true)]),
        false => {
            json!([thinking(&answer.thinking, true), {"type": "text", "text": answer.content}])
        }
    };
    let calls = if answer.calls.is_empty() { Value::Null } else { whole_calls(&answer.calls) };
    json!({
        "index": index,
        "finish_reason": answer.finish,
        "message": {"role": "assistant", "tool_calls": calls, "content": content},
    })
}

fn thinking(text: &str, closed: bool) -> Value {
    json!({"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": closed})
}

fn whole_calls(calls: &[Call]) -> Value {
    let whole = |(index, call): (usize, &Call)| {
        json!({
            "id": call.id,
            "function": {"name": call.name, "arguments": call.arguments},
            "index": index,
        })
    };
    Value::Array(calls.iter().enumerate().map(whole).collect())
}

/// A call in pieces, as hosted GLM models stream it: the name first, then the arguments, gathered by `index`.
fn call_pieces(index: usize, call: &Call) -> Vec<Value> {
    let mut pieces = vec![json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
        "index": index,
    })];
    pieces.extend(
        halves(&call.arguments)
            .map(|part| json!({"id": "null", "function": {"name": "", "arguments": part}, "index": index})),
    );
    pieces
}

fn halves(text: &str) -> impl Iterator<Item = &str> {
    let middle = text.char_indices().map(|(place, _)| place).find(|place| place * 2 >= text.len()).unwrap_or(0);
    [&text[..middle], &text[middle..]].into_iter().filter(|part| !part.is_empty())
}

/// The content of an answer piece by piece. Thoughts are lists of thinking chunks; then comes one list with the last
/// thought and the first word; from there on the words are plain strings.
fn content_deltas(answer: &Answer) -> Vec<Value> {
    let mut thoughts = words(&answer.thinking).into_iter().peekable();
    let mut spoken = words(&answer.content).into_iter();
    let mut deltas = Vec::new();
    while let Some(thought) = thoughts.next() {
        if thoughts.peek().is_some() {
            deltas.push(json!([thinking(thought, false)]));
        } else {
            let first_word = spoken.next().map(|word| json!({"type": "text", "text": word}));
            deltas.push(Value::Array(std::iter::once(thinking(thought, true)).chain(first_word).collect()));
        }
    }
    deltas.extend(spoken.map(|word| json!(word)));
    deltas
}

/// The words of a text, each with the white space before it; together they are the text.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (place, c) in text.char_indices() {
        if c.is_whitespace() && in_word {
            words.push(&text[start..place]);
            start = place;
        }
        in_word = !c.is_whitespace();
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_text_put_together_are_the_text() {
        for text in ["", " ", "a", " a  b\n\nc ", "é\u{a0}ü 日本 語"] {
            assert_eq!(words(text).concat(), text);
            assert!(words(text).iter().all(|word| !word.is_empty()));
        }
        assert_eq!(words("a b  c"), ["a", " b", "  c"]);
    }
}
