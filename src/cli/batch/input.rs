//! What is sent: the lines of a file, each a prompt or a turn.

use std::{
    fmt::Write,
    fs::File,
    io::{BufRead, BufReader, Cursor, Read, stdin},
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::{failure::Failure, json};
use crate::proto::{AppendRequest, BatchItem, RestartRequest, StartRequest, batch_item::Request};

/// The most items that a batch takes.
const MAX_ITEMS: i32 = 100_000;
/// Longer lines are no requests: the service takes 16 MiB at most.
const LONGEST_LINE_BYTES: u64 = 32 << 20;

/// Who leads new conversations that do not say it.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    pub(super) model: Option<String>,
    pub(super) agent: Option<String>,
}

/// What is sent: read once to be checked, and once to be sent.
pub(super) struct Input {
    from: From,
    lead: Lead,
    /// Items in it.
    pub(super) count: i64,
    /// A hash of it.
    pub(super) digest: String,
}

enum From {
    File(PathBuf),
    /// A pipe can't be read twice.
    Memory(Cursor<Vec<u8>>),
}

impl Input {
    /// Reads all of it, and says what is wrong with the first line that is.
    pub(super) fn check(file: &Path, lead: Lead) -> Result<Input, Failure> {
        let from = if file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let read = stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Failure::new(format!("stdin cannot be read: {error}")))?;
            From::Memory(Cursor::new(bytes))
        } else {
            From::File(file.to_owned())
        };
        let mut input = Input { from, lead, count: 0, digest: String::new() };
        let mut hash = Sha256::new();
        let mut items = input.items()?;
        while let Some(item) = items.next_item(|line| hash.update(line))? {
            if item.index >= MAX_ITEMS {
                return Err(items.fault(&format!("has more than {MAX_ITEMS} lines, as many as a batch takes")));
            }
            input.count += 1;
        }
        if input.count == 0 {
            return Err(items.fault("has no items"));
        }
        for byte in hash.finalize() {
            let _ = write!(input.digest, "{byte:02x}");
        }
        Ok(input)
    }

    /// The items, from the first one on.
    pub(super) fn items(&self) -> Result<Items, Failure> {
        let (name, from): (_, Box<dyn BufRead + Send>) = match &self.from {
            From::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| Failure::new(format!("{name} cannot be read: {error}")))?;
                (name, Box::new(BufReader::new(file)))
            }
            From::Memory(bytes) => ("stdin".to_owned(), Box::new(bytes.clone())),
        };
        Ok(Items { name, from, line: 0, lead: self.lead.clone() })
    }
}

/// The items of an input, one after the other.
pub(super) struct Items {
    name: String,
    from: Box<dyn BufRead + Send>,
    line: i32,
    lead: Lead,
}

impl Items {
    /// The next one; `None` at the end. Its line is shown to `see`.
    pub(super) fn next_item(&mut self, mut see: impl FnMut(&[u8])) -> Result<Option<BatchItem>, Failure> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.from).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line);
            let length = read.map_err(|error| self.fault(&format!("cannot be read: {error}")))?;
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            if length as u64 == LONGEST_LINE_BYTES {
                return Err(self.fault(&format!("line {} is longer than any request", self.line)));
            }
            see(&line);
            if !line.trim_ascii().is_empty() {
                let request = parse(&line).map_err(|(column, why)| {
                    let column = if column == 0 { String::new() } else { format!(", column {column}") };
                    self.fault(&format!("line {}{column}: {why}", self.line))
                })?;
                return Ok(Some(BatchItem { index: self.line - 1, request: Some(self.led(request)) }));
            }
        }
    }

    fn led(&self, mut request: Request) -> Request {
        if let Request::Start(start) = &mut request
            && start.model.is_empty()
            && start.agent_id.is_empty()
        {
            start.model = self.lead.model.clone().unwrap_or_default();
            start.agent_id = self.lead.agent.clone().unwrap_or_default();
        }
        request
    }

    fn fault(&self, text: &str) -> Failure {
        Failure::new(format!("{} {text}", self.name))
    }
}

type Fault = (usize, String);

/// What a line asks for.
fn parse(line: &[u8]) -> Result<Request, Fault> {
    let text = str::from_utf8(line).map_err(|error| (error.valid_up_to() + 1, "is not UTF-8".to_owned()))?;
    let text = text.trim_end();
    let at = |error: serde_json::Error| {
        let position = format!(" at line {} column {}", error.line(), error.column());
        (error.column(), error.to_string().replace(&position, ""))
    };
    let value: Value = serde_json::from_str(text).map_err(at)?;
    let fields = match &value {
        Value::String(prompt) => return Ok(started(prompt)),
        Value::Object(fields) => fields,
        _ => return Err((1, "must be a prompt in quotes, or an object".to_owned())),
    };
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    if let (Some(prompt), 1) = (fields.get("prompt"), fields.len()) {
        return match prompt {
            Value::String(prompt) => Ok(started(prompt)),
            _ => Err((1, "`prompt` must be a text".to_owned())),
        };
    }
    if has(&["start", "append", "restart"]) {
        let item: BatchItem = json::from_text("causerie.v1.BatchItem", text).map_err(at)?;
        return item.request.ok_or_else(|| (1, "must have one of start, append and restart".to_owned()));
    }
    if has(&["fromEntryId", "from_entry_id"]) {
        let request: RestartRequest = json::from_text("causerie.v1.RestartRequest", text).map_err(at)?;
        return Ok(Request::Restart(request));
    }
    if has(&["conversationId", "conversation_id"]) {
        let request: AppendRequest = json::from_text("causerie.v1.AppendRequest", text).map_err(at)?;
        return Ok(Request::Append(request));
    }
    json::from_text("causerie.v1.StartRequest", text).map(Request::Start).map_err(at)
}

fn started(prompt: &str) -> Request {
    Request::Start(StartRequest { input: prompt.to_owned(), ..StartRequest::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_or_a_turn() {
        let start = |line: &str| match parse(line.as_bytes()) {
            Ok(Request::Start(start)) => (start.model, start.input),
            other => panic!("{other:?}"),
        };
        let told = |model: &str, input: &str| (model.to_owned(), input.to_owned());
        assert_eq!(start("\"Why?\"\r\n"), told("", "Why?"));
        assert_eq!(start("{\"prompt\": \"Why?\"}"), told("", "Why?"));
        assert_eq!(start("{\"model\": \"m\", \"input\": \"Why?\"}"), told("m", "Why?"));
        assert_eq!(start("{\"index\": 7, \"start\": {\"model\": \"m\", \"input\": \"Why?\"}}"), told("m", "Why?"));
        let append = parse(b"{\"conversationId\": \"conv_x\", \"input\": \"Why?\"}");
        assert!(matches!(append, Ok(Request::Append(append)) if append.input == "Why?"));
        let restart = parse(b"{\"conversation_id\": \"conv_x\", \"from_entry_id\": \"msg_x\"}");
        assert!(matches!(restart, Ok(Request::Restart(_))));
    }

    #[test]
    fn what_is_neither_says_where_and_why() {
        for (line, column, start) in [
            (&b"Why?"[..], 1, "expected value"),
            (b"[1]", 1, "must be a prompt"),
            (b"{\"prompt\": 7}", 1, "`prompt` must be a text"),
            (b"{\"promt\": \"Why?\"}", 8, "unrecognized field name 'promt'"),
            (b"\"a\" \"b\"", 5, "trailing characters"),
            (b"\"\xff\"", 2, "is not UTF-8"),
        ] {
            let (found, why) = parse(line).expect_err("it is wrong");
            assert!(why.starts_with(start), "{why}");
            assert_eq!(found, column, "{why}");
        }
    }
}
