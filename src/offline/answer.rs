//! What the stand-in says.

use serde_json::json;

use super::calls::{self, Call};
use super::directive::{DIRECTIVES, Script};
use super::identity::Dice;
use super::models;
use super::request::{Message, Request, ResponseFormat, Role, Stop};
use super::usage;
use super::{example, request};

/// Quotes are cut to this many characters: the answer to a long letter stays short.
const QUOTE_MAX: usize = 200;

/// One choice of an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Thoughts before the answer, empty for none.
    pub(super) thinking: String,
    pub(super) content: String,
    pub(super) calls: Vec<Call>,
    pub(super) finish: String,
}

impl Answer {
    /// Tokens spent on it.
    pub(super) fn tokens(&self) -> usize {
        let of_calls: usize = self.calls.iter().map(|call| 1 + usage::words(&call.arguments)).sum();
        usage::words(&self.thinking) + usage::words(&self.content) + of_calls
    }
}

/// As many answers as `n` asks for. `text` is the last user message without its directives.
pub(super) fn all(request: &Request, script: &Script, text: &str, dice: &mut Dice) -> Vec<Answer> {
    (0..request.n.unwrap_or(1)).map(|choice| one(request, script, text, choice, dice)).collect()
}

fn one(request: &Request, script: &Script, text: &str, choice: usize, dice: &mut Dice) -> Answer {
    let thinking = thoughts(request, script);
    // After tool results or a prefix it is the model's turn to speak: a call now would go on for ever.
    let may_call = request.messages.last().is_some_and(|last| last.role == Role::User);
    let calls = match script.calls.as_slice() {
        [] if may_call => calls::of(request, text, dice),
        [] => Vec::new(),
        directed => calls::directed(request, directed, dice),
    };
    let mut answer = if calls.is_empty() {
        let mut said = speech(request, script, text);
        if choice > 0 && !wants_json(request) {
            said.push_str(&format!(" (choice {})", choice + 1));
        }
        let prefix = request.prefix().unwrap_or_default();
        let (said, finish) = limited(request, thinking.as_str(), &said);
        Answer { thinking, content: prefix + &said, calls, finish }
    } else {
        Answer { thinking, content: String::new(), calls, finish: "tool_calls".to_owned() }
    };
    if let Some(finish) = &script.finish {
        answer.finish.clone_from(finish);
    }
    answer
}

fn thoughts(request: &Request, script: &Script) -> String {
    let by_model = models::reasons(&request.model) && request.reasoning_effort.as_deref() != Some("none");
    if !by_model && !script.think {
        return String::new();
    }
    "I am an offline stand-in, so there is nothing to think about. I will repeat the last message.".to_owned()
}

fn speech(request: &Request, script: &Script, text: &str) -> String {
    if let Some(document) = document(request, text) {
        return document;
    }
    if script.help {
        return format!(
            "[offline] A message that names a tool gets it called, with the JSON object that it holds. Lines at the top of a \
             message: /offline {}.",
            DIRECTIVES.join(" | /offline ")
        );
    }
    if let Some(count) = script.words {
        return (1..=count).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    }
    let results = request.tool_results();
    if !results.is_empty() {
        return about_results(results);
    }
    let lead = if request.prefix().is_some() { " [offline] I went on from there." } else { "[offline]" };
    format!("{lead} You said: {}. ({})", heard(request, text), place(request))
}

/// What the last user message held: its text, and the kinds of its other chunks.
fn heard(request: &Request, text: &str) -> String {
    let attachments: Vec<_> = request.last_user().into_iter().flat_map(Message::attachments).collect();
    match attachments.is_empty() {
        true => quote(text),
        false => format!("{} with {}", quote(text), attachments.join(", ")),
    }
}

/// Where in the conversation the answer stands, so that a reader sees whether the history arrived.
fn place(request: &Request) -> String {
    let count = request.messages.iter().filter(|message| message.role != Role::System).count();
    let system: Vec<_> =
        request.messages.iter().filter(|message| message.role == Role::System).map(Message::text).collect();
    match system.is_empty() {
        true => format!("message {count} of this conversation"),
        false => format!("message {count} of this conversation, instructions: {}", quote(&system.join(" "))),
    }
}

fn about_results(results: &[Message]) -> String {
    let quoted: Vec<_> = results
        .iter()
        .map(|result| format!("{}: {}", result.name.as_deref().unwrap_or("a tool"), quote(&result.text())))
        .collect();
    format!("[offline] The tools answered. {}.", quoted.join(", "))
}

/// A text in quotation marks, on one line.
fn quote(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("\"{}…\"", &line[..end]),
        None => format!("\"{line}\""),
    }
}

fn wants_json(request: &Request) -> bool {
    document_format(request).is_some()
}

fn document_format(request: &Request) -> Option<&ResponseFormat> {
    request
        .response_format
        .as_ref()
        .filter(|format| matches!(format.kind.as_deref(), Some("json_object" | "json_schema")))
}

/// A JSON document, if one is asked for.
fn document(request: &Request, text: &str) -> Option<String> {
    let document = match &document_format(request)?.json_schema {
        Some(request::JsonSchema { schema }) => example::of(schema, "value"),
        None => json!({"offline": true, "you_said": text}),
    };
    Some(document.to_string())
}

/// Applies `stop`, then `max_tokens`; gives the finish reason as well.
fn limited(request: &Request, thinking: &str, said: &str) -> (String, String) {
    let said = &said[..stop_at(request.stop.as_ref(), said)];
    let budget = request.max_tokens.unwrap_or(usize::MAX).saturating_sub(usage::words(thinking));
    match nth_word_end(said, budget) {
        Some(end) => (said[..end].to_owned(), "length".to_owned()),
        None => (said.to_owned(), "stop".to_owned()),
    }
}

fn stop_at(stop: Option<&Stop>, said: &str) -> usize {
    let marks = match stop {
        None => &[],
        Some(Stop::One(mark)) => std::slice::from_ref(mark),
        Some(Stop::Many(marks)) => marks.as_slice(),
    };
    let found = marks.iter().filter(|mark| !mark.is_empty()).filter_map(|mark| said.find(mark.as_str()));
    found.min().unwrap_or(said.len())
}

/// Where the text must end to have only so many words; none if it has no more than that.
fn nth_word_end(text: &str, count: usize) -> Option<usize> {
    let start_of_next = text.split_whitespace().nth(count)?;
    let offset = start_of_next.as_ptr() as usize - text.as_ptr() as usize;
    Some(text[..offset].trim_end().len())
}
