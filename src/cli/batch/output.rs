//! What came of the items, as lines of a file: appended as it comes, and gone on with where a run before it ended.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom, Write, stdout},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic_types::RpcStatusExt;

use super::super::{failure::Failure, money};
use crate::proto::{BatchItemResult, Turn, Usage, chunk, entry::Kind};

/// Where results go.
pub(super) struct Output {
    to: To,
    /// The batch whose results are there.
    batch: Option<String>,
    /// The newest of them.
    pub(super) last_sequence: i64,
}

enum To {
    Stdout,
    File(File),
}

/// What a line of before tells.
#[derive(Deserialize)]
struct Known {
    batch: String,
    sequence: i64,
}

impl Output {
    /// Opens a file with the results that it has. A line that was cut off goes.
    pub(super) fn open(path: &Path) -> Result<Output, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Output { to: To::Stdout, batch: None, last_sequence: 0 });
        }
        let cannot = |error| Failure::new(format!("{} cannot be written: {error}", path.display()));
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(cannot)?;
        let (mut batch, mut last_sequence, mut whole) = (None, 0, 0);
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(cannot)? > 0 && line.ends_with(b"\n") {
            let known: Known = serde_json::from_slice(&line).map_err(|_| {
                Failure::new(format!("{} has lines that are no results of a batch", path.display()))
                    .note("Name another --output.")
            })?;
            (batch, last_sequence) = (Some(known.batch), known.sequence);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).map_err(cannot)?;
        file.seek(SeekFrom::End(0)).map_err(cannot)?;
        Ok(Output { to: To::File(file), batch, last_sequence })
    }

    /// The results are those of this batch.
    pub(super) fn belongs_to(&self, batch_id: &str) -> Result<(), Failure> {
        match &self.batch {
            Some(other) if other != batch_id => Err(Failure::new(format!(
                "the output has the results of another batch, {other}, and not of {batch_id}"
            ))
            .note("Name another --output, or run the file and the options that made it.")),
            Some(_) | None => Ok(()),
        }
    }

    /// Appends a result, whole and at once: a kill leaves at most one line that is cut off.
    pub(super) fn write(&mut self, batch_id: &str, sequence: i64, item: &BatchItemResult) -> Result<(), Failure> {
        let mut line = line(batch_id, sequence, item).to_string();
        line.push('\n');
        match &mut self.to {
            To::Stdout => stdout().write_all(line.as_bytes())?,
            To::File(file) => file.write_all(line.as_bytes())?,
        }
        self.last_sequence = sequence;
        Ok(())
    }
}

fn line(batch_id: &str, sequence: i64, item: &BatchItemResult) -> Value {
    let BatchItemResult { index, turn, turn_id, state: _, ended_at: _ } = item;
    let state = item.state().as_str_name().trim_start_matches("STATE_");
    let mut line = Map::new();
    let mut tell = |name: &str, value: Value| line.insert(name.to_owned(), value);
    tell("batch", batch_id.into());
    tell("sequence", sequence.into());
    tell("index", (*index).into());
    tell("state", state.into());
    if !turn_id.is_empty() {
        tell("turn", turn_id.as_str().into());
    }
    let Some(turn) = turn else { return Value::Object(line) };
    if !turn.conversation_id.is_empty() {
        tell("conversation", turn.conversation_id.as_str().into());
    }
    if !turn_id.is_empty() {
        tell("text", text(turn).into());
        tell("usage", usage(turn.usage.as_ref()));
    }
    if let Some(cost) = &turn.cost {
        tell("cost", money::plain(cost).into());
    }
    if let Some(error) = &turn.error {
        let details = error.get_details_error_info();
        tell("error", json!({"reason": details.map(|info| info.reason), "message": error.message}));
    }
    Value::Object(line)
}

fn usage(usage: Option<&Usage>) -> Value {
    let Usage { prompt_tokens, completion_tokens, total_tokens, .. } = usage.cloned().unwrap_or_default();
    json!({"promptTokens": prompt_tokens, "completionTokens": completion_tokens, "totalTokens": total_tokens})
}

/// What the model wrote.
fn text(turn: &Turn) -> String {
    let messages = turn.outputs.iter().filter_map(|entry| match &entry.kind {
        Some(Kind::MessageOutput(message)) => Some(&message.content),
        _ => None,
    });
    let texts = messages.flatten().filter_map(|chunk| match &chunk.kind {
        Some(chunk::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn refused() -> BatchItemResult {
        let error = tonic_types::pb::Status { code: 3, message: "is wrong".into(), details: Vec::new() };
        let turn = Turn { error: Some(error), ..Turn::default() };
        BatchItemResult { index: 7, turn: Some(turn), state: proto::turn::State::Failed.into(), ..Default::default() }
    }

    #[test]
    fn a_line_that_was_cut_off_is_written_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out.jsonl");
        let mut output = Output::open(&path).expect("it opens");
        output.write("batch_a", 1, &refused()).expect("written");
        output.write("batch_a", 2, &refused()).expect("written");
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &whole[..whole.len() - 3]).expect("written");

        let mut output = Output::open(&path).expect("it opens");
        assert_eq!(output.last_sequence, 1);
        output.belongs_to("batch_a").expect("its own");
        output.belongs_to("batch_b").expect_err("another one");
        output.write("batch_a", 2, &refused()).expect("written");
        assert_eq!(std::fs::read(&path).expect("a file"), whole);
        let first = String::from_utf8(whole).expect("text").lines().next().map(str::to_owned);
        let told = r#"{"batch":"batch_a","sequence":1,"index":7,"state":"FAILED","error":{"reason":null,"message":"is wrong"}}"#;
        assert_eq!(first.as_deref(), Some(told));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out.jsonl");
        std::fs::write(&path, "Dear diary\n").expect("written");
        assert!(Output::open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "Dear diary\n");
    }
}
