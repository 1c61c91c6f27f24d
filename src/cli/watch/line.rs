//! Changes and events, each as one line.

use jiff::Timestamp;
use prost::Message;

use crate::{
    cli::{failure::Failure, json},
    proto::{Change, Event, chunk, event::Kind, turn::State},
};

/// How they are written.
pub(super) struct Lines {
    /// In protobuf's JSON, instead of for people.
    pub(super) json: bool,
}

impl Lines {
    pub(super) fn change(&self, change: &Change) -> Result<String, Failure> {
        if self.json {
            return to_json("causerie.v1.Change", change);
        }
        let ids = [&change.conversation_id, &change.turn_id, &change.batch_id];
        let id = ids.into_iter().find(|id| !id.is_empty()).map_or("", String::as_str);
        let place = change.revision.to_string();
        let what = format!("{}  {}", or_dash(&change.model), state(change.state()));
        Ok(line(&place, change.created_at.as_ref(), &change.r#type, id, &what))
    }

    pub(super) fn event(&self, event: &Event) -> Result<String, Failure> {
        if self.json {
            return to_json("causerie.v1.Event", event);
        }
        let (name, what) = event.kind.as_ref().map_or(("-", String::new()), |kind| (name(kind), what(kind)));
        Ok(line(&format!("#{}", event.sequence), event.created_at.as_ref(), name, &event.turn_id, &what))
    }
}

fn to_json(name: &str, message: &impl Message) -> Result<String, Failure> {
    let line = json::to_line_of(name, message);
    line.map_err(|error| Failure::new(format!("what the server sent cannot be shown: {error}")))
}

fn line(place: &str, at: Option<&prost_types::Timestamp>, name: &str, id: &str, what: &str) -> String {
    let at = at.and_then(|time| Timestamp::from_second(time.seconds).ok());
    let at = at.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let line = format!("{place:>8}  {at}  {name:<22}  {id:<37}  {what}");
    line.trim_end().to_owned()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "",
        State::Queued => "queued",
        State::Running => "running",
        State::RequiresAction => "requires action",
        State::Completed => "completed",
        State::Incomplete => "incomplete",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::ResponseStarted(_) => "response_started",
        Kind::MessageOutputDelta(_) => "message_output_delta",
        Kind::FunctionCallDelta(_) => "function_call_delta",
        Kind::ToolExecutionStarted(_) => "tool_execution_started",
        Kind::ToolExecutionDelta(_) => "tool_execution_delta",
        Kind::ToolExecutionDone(_) => "tool_execution_done",
        Kind::AgentHandoffStarted(_) => "agent_handoff_started",
        Kind::AgentHandoffDone(_) => "agent_handoff_done",
        Kind::HumanHandoff(_) => "human_handoff",
        Kind::EntryDone(_) => "entry_done",
        Kind::UpstreamRetry(_) => "upstream_retry",
        Kind::UpstreamSwitched(_) => "upstream_switched",
        Kind::ResponseDone(_) => "response_done",
        Kind::ResponseError(_) => "response_error",
        Kind::Heartbeat(_) => "heartbeat",
        Kind::TurnQueued(_) => "turn_queued",
        Kind::TurnResumed(_) => "turn_resumed",
        Kind::TurnRequeued(_) => "turn_requeued",
        Kind::TurnConflict(_) => "turn_conflict",
    }
}

/// What of an event has room in a line. Texts stand as JSON has them: nothing in them moves the cursor.
fn what(kind: &Kind) -> String {
    match kind {
        Kind::MessageOutputDelta(delta) => match delta.content.as_ref().and_then(|chunk| chunk.kind.as_ref()) {
            Some(chunk::Kind::Text(text)) => quoted(text),
            Some(chunk::Kind::Thinking(_)) => "(thinking)".to_owned(),
            Some(_) | None => String::new(),
        },
        Kind::FunctionCallDelta(delta) => format!("{} {}", quoted(&delta.name), quoted(&delta.arguments)),
        Kind::ToolExecutionStarted(run) => quoted(&run.name),
        Kind::ToolExecutionDelta(run) => quoted(&run.name),
        Kind::ToolExecutionDone(run) => quoted(&run.name),
        Kind::EntryDone(done) => done.entry.as_ref().map_or(String::new(), |entry| entry.r#type.clone()),
        Kind::ResponseDone(done) => done.turn.as_ref().map_or("", |turn| state(turn.state())).to_owned(),
        Kind::ResponseError(failed) => failed.status.as_ref().map_or(String::new(), |error| quoted(&error.message)),
        Kind::ResponseStarted(_)
        | Kind::AgentHandoffStarted(_)
        | Kind::AgentHandoffDone(_)
        | Kind::HumanHandoff(_)
        | Kind::UpstreamRetry(_)
        | Kind::UpstreamSwitched(_)
        | Kind::Heartbeat(_)
        | Kind::TurnQueued(_)
        | Kind::TurnResumed(_)
        | Kind::TurnRequeued(_)
        | Kind::TurnConflict(_) => String::new(),
    }
}

/// As JSON writes it, and no longer than a line has room for.
fn quoted(text: &str) -> String {
    const MOST: usize = 120;
    let cut = if text.chars().count() > MOST { "…" } else { "" };
    // JSON leaves the second half of the control characters as they are.
    let shown = |c: char| if ('\u{7f}'..='\u{9f}').contains(&c) { '\u{fffd}' } else { c };
    let text: String = text.chars().take(MOST).map(shown).collect();
    format!("{}{cut}", serde_json::Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Chunk, MessageOutputDelta};

    fn change() -> Change {
        Change {
            revision: 12,
            created_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 5 }),
            r#type: "turn.completed".into(),
            turn_id: "turn_1".into(),
            conversation_id: "conv_1".into(),
            model: "small".into(),
            state: State::Completed.into(),
            ..Change::default()
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let lines = Lines { json: false };
        let told = lines.change(&change()).expect("it can be shown");
        let (gap, end) = (" ".repeat(8), " ".repeat(31));
        assert_eq!(told, format!("      12  2026-01-01T00:00:00Z  turn.completed{gap}  conv_1{end}  small  completed"));
        let batch = Change { batch_id: "batch_1".into(), r#type: "batch.ended".into(), ..Change::default() };
        assert!(lines.change(&batch).expect("it can be shown").contains("batch_1"));
        let json = Lines { json: true }.change(&change()).expect("it can be shown");
        assert!(json.contains(r#""revision":"12""#) && json.contains(r#""state":"STATE_COMPLETED""#), "{json}");
    }

    #[test]
    fn nothing_in_an_event_moves_the_cursor() {
        let text = chunk::Kind::Text("\u{1b}[2J\u{9b}2J\n".into());
        let delta = MessageOutputDelta { content: Some(Chunk { kind: Some(text) }), ..MessageOutputDelta::default() };
        let event = Event { sequence: 2, kind: Some(Kind::MessageOutputDelta(delta)), ..Event::default() };
        let told = Lines { json: false }.event(&event).expect("it can be shown");
        assert!(told.trim_start().starts_with("#2  ") && told.ends_with(r#""\u001b[2J�2J\n""#), "{told}");
        assert!(!told.chars().any(char::is_control));
    }
}
