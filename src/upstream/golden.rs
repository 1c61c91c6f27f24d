//! Recorded shapes of answers, decoded however the network cuts them, and of refusals. `UPDATE_GOLDEN=1` writes what is
//! expected of them anew.
//!
//! Beside an answer may stand the text that the model was asked to continue (`.prefix`). A refusal's name begins with its status.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use http::HeaderValue;

use super::{
    Fault, Form, Piece,
    answer::Answer,
    chat::{Chat, Refusal, refused},
    conversations::Conversations,
    origin::Origin,
    refusal::{Asked, Sent},
    secrets::Secrets,
    sse::{Decoder, TooLong},
};
use crate::domain::{Chunk, Failure};

const LONGEST: usize = 1 << 20;
/// The folders in `tests/golden`, named for the provider and, if it is not chat completions, the endpoint.
const FOLDERS: [&str; 3] = ["mistral", CONVERSATIONS, "openai"];
const CONVERSATIONS: &str = "mistral_conversations";

fn origin(provider: &str, status: u16) -> Origin {
    Origin { provider: provider.into(), host: "host.example".into(), http_status: Some(status), correlation_id: None }
}

fn answer(provider: &str, continued: Option<String>, max_output_bytes: usize) -> Chat {
    Chat::new(origin(provider, 200), continued, max_output_bytes)
}

fn answer_of(folder: &str, continued: Option<String>) -> Box<dyn Answer> {
    match folder {
        CONVERSATIONS => Box::new(Conversations::new(origin("mistral", 200), continued, LONGEST)),
        provider => Box::new(answer(provider, continued, LONGEST)),
    }
}

struct Failed(Failure);

impl From<TooLong> for Failed {
    fn from(_: TooLong) -> Failed {
        panic!("the recorded streams are short")
    }
}

fn streamed(folder: &str, parts: &[&[u8]], continued: Option<String>) -> String {
    let mut answer = answer_of(folder, continued);
    let mut decoder = Decoder::default();
    let mut read = || {
        for part in parts {
            decoder.push(part, LONGEST, |data| answer.take_event(data).map_err(Failed))?;
        }
        decoder.finish(|data| answer.take_event(data).map_err(Failed))?;
        answer.end().map_err(Failed)
    };
    let end = read();
    told(answer, end.map_err(|Failed(failure)| failure))
}

fn whole(folder: &str, body: &[u8], continued: Option<String>) -> String {
    let mut answer = answer_of(folder, continued);
    let end = answer.take_whole(body).and_then(|()| answer.end());
    told(answer, end)
}

/// One line for each piece, and one for the error.
fn told(mut answer: Box<dyn Answer>, end: Result<(), Failure>) -> String {
    let mut lines = String::new();
    while let Some(piece) = answer.pop() {
        writeln!(lines, "{piece:?}").expect("a string takes any text");
    }
    if let Err(failure) = end {
        writeln!(lines, "{:?}: {} {:?}", failure.reason, failure.message, failure.metadata)
            .expect("a string takes any text");
    }
    lines
}

/// The files of a golden folder, but those that say what is expected.
fn files(folder: &str, kind: &str) -> Vec<PathBuf> {
    let folder = format!("{}/tests/golden/{folder}/{kind}", env!("CARGO_MANIFEST_DIR"));
    let paths = fs::read_dir(&folder).expect("the golden folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> =
        paths.filter(|path| !path.extension().is_some_and(|ending| ending == "pieces" || ending == "told")).collect();
    found.sort();
    assert!(!found.is_empty(), "no golden files in {folder}");
    found
}

/// An answer as it was recorded.
struct Recorded {
    folder: &'static str,
    path: PathBuf,
    body: Vec<u8>,
    continued: Option<String>,
}

/// The recorded answers with this file ending.
fn recorded(ending: &str) -> Vec<Recorded> {
    let of = |folder: &'static str| {
        let paths = files(folder, "responses").into_iter();
        paths.filter(|path| path.extension().is_some_and(|found| found == ending)).map(move |path| Recorded {
            folder,
            body: fs::read(&path).expect("a golden file"),
            continued: fs::read_to_string(path.with_extension("prefix")).ok(),
            path,
        })
    };
    FOLDERS.into_iter().flat_map(of).collect()
}

fn compare(path: &Path, ending: &str, found: &str) {
    let expected = PathBuf::from(format!("{}.{ending}", path.display()));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, found).expect("the golden folder can be written");
    }
    assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
    assert!(!found.contains("secret"), "content of a broken answer is told: {found}");
}

#[test]
fn whole_answers() {
    for Recorded { folder, path, body, continued } in recorded("json") {
        compare(&path, "pieces", &whole(folder, &body, continued));
    }
}

#[test]
fn streams_at_every_split() {
    for Recorded { folder, path, body, continued } in recorded("sse") {
        let expected = streamed(folder, &[&body], continued.clone());
        compare(&path, "pieces", &expected);
        for cut in 1..body.len() {
            let (before, after) = body.split_at(cut);
            let found = streamed(folder, &[before, after], continued.clone());
            assert_eq!(found, expected, "{} cut at {cut}", path.display());
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(streamed(folder, &single, continued.clone()), expected, "{} byte by byte", path.display());
    }
}

#[test]
fn refusals_of_every_shape() {
    let model = Asked { form: Form::Chat, model: "gpt-0", hosted: false };
    refusals("openai", "openai", model);
    refusals(CONVERSATIONS, "mistral", Asked { form: Form::Conversations, model: "ag_1", hosted: true });
}

fn refusals(folder: &str, provider: &str, asked: Asked<'_>) {
    let key = Some(HeaderValue::from_static("Bearer sk-of-the-operator"));
    let (sent, secrets) = (Sent { key, is_own: false }, Secrets::default());
    for path in files(folder, "refusals") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let status = name.split('_').next().and_then(|status| status.parse().ok()).expect("a status");
        let body = fs::read(&path).expect("a golden file");
        let key_place = "OPENAI_API_KEY";
        let refusal = Refusal { status, body: &body, asked, sent: &sent, key_place, secrets: &secrets };
        let Fault { failure, class, .. } = refused(&refusal, &origin(provider, status));
        let Failure { reason, message, metadata, violations, retry_after_ms, resource } = failure;
        assert_eq!(violations, [], "{name}");
        let mut told = format!("{reason:?} {class:?}\n{message}\n");
        for (key, value) in metadata {
            writeln!(told, "{key}: {value}").expect("a string takes any text");
        }
        if let Some((kind, name)) = resource {
            writeln!(told, "resource: {kind} {name}").expect("a string takes any text");
        }
        if let Some(ms) = retry_after_ms {
            writeln!(told, "retry after {ms} ms").expect("a string takes any text");
        }
        compare(&path, "told", &told);
    }
}

#[test]
fn an_answer_has_a_limit() {
    let event = br#"{"choices":[{"delta":{"content":"123456"}}]}"#;
    let mut answer = answer("mistral", None, 10);
    assert_eq!(answer.take_event(event), Ok(()));
    let failure = answer.take_event(event).expect_err("twelve bytes are too many");
    assert_eq!(failure.message, "mistral's answer is not usable: it is longer than 10 bytes");
}

#[test]
fn calls_count_before_they_have_a_name() {
    let events: [&[u8]; 3] = [
        br#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"123"}}]}}]}"#,
        br#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":{"a":1}}}]}}]}"#,
        br#"{"choices":[{"delta":{"tool_calls":[{"id":"call_1"}]}}]}"#,
    ];
    for event in events {
        let mut answer = answer("mistral", None, 300);
        assert_eq!(answer.take_event(event), Ok(()));
        let events = [event; 20].into_iter();
        assert!(events.map(|event| answer.take_event(event)).any(|taken| taken.is_err()), "{}", event.escape_ascii());
        assert_eq!(answer.pop(), None);
    }
}

#[test]
fn calls_count_however_empty_they_are() {
    let calls: Vec<_> = (0..1000).map(|i| serde_json::json!({"id": i.to_string()})).collect();
    let event = serde_json::json!({"choices": [{"delta": {"tool_calls": calls}}]}).to_string();
    let mut answer = answer("mistral", None, 100_000);
    let failure = answer.take_event(event.as_bytes()).expect_err("a call is more than its texts");
    assert!(failure.message.ends_with("it is longer than 100000 bytes"), "{failure}");
}

/// An event with this delta.
fn delta(delta: serde_json::Value) -> Vec<u8> {
    serde_json::json!({"choices": [{"delta": delta}]}).to_string().into_bytes()
}

#[test]
fn long_answers_are_gathered_to_fewer_pieces() {
    for field in ["content", "reasoning_content", "arguments"] {
        let event = match field {
            "arguments" => delta(serde_json::json!({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]})),
            field => delta(serde_json::json!({field: "x"})),
        };
        let mut answer = answer("openai", None, 2 << 20);
        let begin = delta(serde_json::json!({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}));
        answer.take_event(&begin).expect("it begins");
        let mut pieces = Vec::new();
        for _ in 0..40_000 {
            // A server that counts in every event.
            answer.take_event(&event).expect("within the limit");
            answer.take_event(br#"{"usage":{"prompt_tokens":1}}"#).expect("usage");
            pieces.extend(std::iter::from_fn(|| answer.pop()));
        }
        answer.stop();
        pieces.extend(std::iter::from_fn(|| answer.pop()));
        let said: Vec<usize> = pieces.iter().map(said_bytes).filter(|bytes| *bytes > 0).collect();
        assert_eq!(said.iter().sum::<usize>(), 40_000, "{field}: nothing is lost");
        assert!(said[..8000].iter().all(|bytes| *bytes == 1), "{field}: the first ones come as they are");
        assert!(said.len() < 8_200 + 40_000 / 64, "{field}: {} pieces", said.len());
    }
}

fn said_bytes(piece: &Piece) -> usize {
    match piece {
        Piece::Text(text) => text.len(),
        Piece::Thinking(thinking) => match thinking.content.as_slice() {
            [Chunk::Text(text)] => text.len(),
            other => panic!("{other:?} is not one text"),
        },
        Piece::Call { index: _, name: _, arguments } => arguments.len(),
        Piece::Chunk(_)
        | Piece::Message
        | Piece::ToolStarted { .. }
        | Piece::ToolArguments { .. }
        | Piece::ToolDone { .. }
        | Piece::HandoffStarted { .. }
        | Piece::HandoffDone { .. }
        | Piece::Finish(_)
        | Piece::Usage(_) => 0,
    }
}

#[test]
fn pieces_that_can_t_be_gathered_count_for_more() {
    let kinds = [
        delta(serde_json::json!({"content": "x", "reasoning_content": "x"})),
        delta(serde_json::json!({"content": [{"type": "reference"}]})),
        delta(serde_json::json!({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}], "content": "x"})),
    ];
    for event in kinds {
        let mut answer = answer("openai", None, 2 << 20);
        let mut given = 0;
        let failure = loop {
            if let Err(failure) = answer.take_event(&event) {
                break failure;
            }
            given += std::iter::from_fn(|| answer.pop()).count();
        };
        assert!(failure.message.ends_with("it is longer than 2097152 bytes"), "{failure}");
        assert!(given <= 49_152, "{} made {given} pieces", event.escape_ascii());
    }
}
