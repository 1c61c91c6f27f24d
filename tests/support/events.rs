//! A turn's events as a reader sees them, and what holds for every one of them.

use std::time::Duration;

use causerie::proto::{self, chunk, entry, event::Kind, stream_events_request::Request};
use tonic::{Status, Streaming};

use super::{
    completion::silence,
    server::{Client, TestServer, start},
};

/// Fails the test instead of hanging it.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("did not happen in time")
}

/// What a stream is asked: all events of this.
pub(crate) fn full(request: Request) -> proto::StreamEventsRequest {
    proto::StreamEventsRequest { request: Some(request), view: proto::EventView::Unspecified.into() }
}

/// What a stream is asked: all events of a Start.
pub(crate) fn run(start: proto::StartRequest) -> proto::StreamEventsRequest {
    full(Request::Start(start))
}

/// What a stream is asked: the events of a turn after a sequence.
pub(crate) fn resume(turn_id: &str, after_sequence: i64) -> proto::StreamEventsRequest {
    full(Request::Resume(proto::ResumeRequest { turn_id: turn_id.to_owned(), after_sequence }))
}

/// A reader of a turn. Dropping it leaves the stream.
pub(crate) struct Reader {
    stream: Streaming<proto::Event>,
    seen: Vec<proto::Event>,
}

/// Opens a stream that must be accepted.
pub(crate) async fn watch(client: &Client, request: proto::StreamEventsRequest) -> Reader {
    let opened = soon(client.clone().stream_events(request)).await;
    Reader { stream: opened.expect("a stream").into_inner(), seen: Vec::new() }
}

/// Everything of a request's stream, which must be accepted.
pub(crate) async fn events_of(client: &Client, request: proto::StreamEventsRequest) -> Seen {
    watch(client, request).await.rest().await
}

impl Reader {
    /// The next event.
    pub(crate) async fn next(&mut self) -> proto::Event {
        let event = soon(self.stream.message()).await.expect("no error").expect("an event");
        self.seen.push(event.clone());
        event
    }

    /// Reads `response_started`, which is first; the turn's id.
    pub(crate) async fn started(&mut self) -> String {
        let event = self.next().await;
        assert!(matches!(event.kind, Some(Kind::ResponseStarted(_))), "{event:?}");
        event.turn_id
    }

    /// Reads `turn_queued`, which is first of a background turn; the turn's id.
    pub(crate) async fn queued(&mut self) -> String {
        let event = self.next().await;
        assert!(matches!(event.kind, Some(Kind::TurnQueued(_))), "{event:?}");
        event.turn_id
    }

    /// Reads up to the next event of this kind.
    pub(crate) async fn until_kind(&mut self, kind: &str) -> proto::Event {
        let reading = async {
            loop {
                let event = self.next().await;
                if name(&event) == kind {
                    return event;
                }
            }
        };
        soon(reading).await
    }

    /// What it has seen so far. Leaves the stream.
    pub(crate) fn leave(self) -> Vec<proto::Event> {
        self.seen
    }

    /// Reads until the deltas so far hold this text.
    pub(crate) async fn until(&mut self, text: &str) {
        let reading = async {
            while joined(&self.seen) != text {
                self.next().await;
            }
        };
        // As a whole: heartbeats come for ever.
        soon(reading).await;
    }

    /// Reads on to the end: everything that this reader has seen.
    pub(crate) async fn rest(mut self) -> Seen {
        let reading = async {
            loop {
                match self.stream.message().await {
                    Ok(Some(event)) => self.seen.push(event),
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        };
        let status = soon(reading).await;
        Seen { events: self.seen, status }
    }
}

/// A stream that has ended.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) events: Vec<proto::Event>,
    /// What it ended with, if that is an error.
    pub(crate) status: Option<Status>,
}

impl Seen {
    /// The turn of `response_done`; the stream must have ended well with it.
    pub(crate) fn turn(&self) -> &proto::Turn {
        assert!(self.status.is_none(), "{:?}", self.status);
        done(&self.events).unwrap_or_else(|| panic!("no response_done in {:?}", names(&self.events)))
    }

    /// The error that the stream ended with.
    pub(crate) fn error(&self) -> &Status {
        self.status.as_ref().unwrap_or_else(|| panic!("no error after {:?}", names(&self.events)))
    }

    /// `response_started`.
    pub(crate) fn started(&self) -> &proto::ResponseStarted {
        match &self.events[0].kind {
            Some(Kind::ResponseStarted(started)) => started,
            other => panic!("{other:?}"),
        }
    }

    /// The turn that the events are of.
    pub(crate) fn turn_id(&self) -> &str {
        &self.events[0].turn_id
    }
}

/// The turn of the `response_done` among these events.
pub(crate) fn done(events: &[proto::Event]) -> Option<&proto::Turn> {
    events.iter().find_map(|event| match &event.kind {
        Some(Kind::ResponseDone(done)) => done.turn.as_ref(),
        _ => None,
    })
}

/// The entries of `entry_done`.
pub(crate) fn entries_done(events: &[proto::Event]) -> Vec<proto::Entry> {
    let entries = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::EntryDone(done)) => done.entry.clone(),
        _ => None,
    });
    entries.collect()
}

/// What kind of event it is.
pub(crate) fn name(event: &proto::Event) -> &'static str {
    match event.kind.as_ref().expect("every event has a kind") {
        Kind::ResponseStarted(_) => "response_started",
        Kind::MessageOutputDelta(_) => "message_output_delta",
        Kind::FunctionCallDelta(_) => "function_call_delta",
        Kind::EntryDone(_) => "entry_done",
        Kind::ResponseDone(_) => "response_done",
        Kind::ResponseError(_) => "response_error",
        Kind::Heartbeat(_) => "heartbeat",
        Kind::UpstreamRetry(_) => "upstream_retry",
        Kind::UpstreamSwitched(_) => "upstream_switched",
        Kind::ToolExecutionStarted(_) => "tool_execution_started",
        Kind::ToolExecutionDelta(_) => "tool_execution_delta",
        Kind::ToolExecutionDone(_) => "tool_execution_done",
        Kind::AgentHandoffStarted(_) => "agent_handoff_started",
        Kind::AgentHandoffDone(_) => "agent_handoff_done",
        Kind::HumanHandoff(_) => "human_handoff",
        Kind::TurnQueued(_) => "turn_queued",
        Kind::TurnResumed(_) => "turn_resumed",
        Kind::TurnRequeued(_) => "turn_requeued",
        Kind::TurnConflict(_) => "turn_conflict",
    }
}

/// What kinds of events they are.
pub(crate) fn names(events: &[proto::Event]) -> Vec<&'static str> {
    events.iter().map(name).collect()
}

/// The text of all message deltas.
pub(crate) fn joined(events: &[proto::Event]) -> String {
    let texts = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::MessageOutputDelta(delta)) => match delta.content.as_ref()?.kind.as_ref()? {
            chunk::Kind::Text(text) => Some(text.as_str()),
            _ => None,
        },
        _ => None,
    });
    texts.collect()
}

/// What holds for every log that was read from its beginning: it starts with `response_started`, of a background turn with
/// `turn_queued`, has no gaps, has one terminal event, in the last place, and its deltas say what its finished entries and its
/// turn say, as far as they are not void.
pub(crate) fn assert_whole(events: &[proto::Event]) {
    let last = events.last().expect("events");
    assert!(["response_started", "turn_queued"].contains(&name(&events[0])), "{:?}", events[0]);
    assert_eq!(events.iter().filter(|event| name(event) == "response_started").count(), 1);
    let is_terminal = |event: &proto::Event| ["response_done", "response_error"].contains(&name(event));
    assert!(is_terminal(last), "the last event is {}", name(last));
    assert_eq!(events.iter().filter(|event| is_terminal(event)).count(), 1);
    assert_gapless(events, 1);
    let events = &valid(events)[..];
    if let Some(turn) = done(events) {
        assert_eq!(turn.id, last.turn_id);
        assert_eq!(turn.last_sequence, last.sequence);
        // Tools that run side by side end in any order.
        let by_id = |mut entries: Vec<proto::Entry>| {
            entries.sort_by(|one, other| one.id.cmp(&other.id));
            entries
        };
        assert_eq!(by_id(turn.outputs.clone()), by_id(entries_done(events)));
    }
    let entries = entries_done(events);
    assert!(!entries.is_empty() || joined(events).is_empty(), "deltas without their entry");
    for entry in &entries {
        assert_eq!(text_in(entry), text_told(events, &entry.id), "the deltas of {}", entry.id);
    }
}

/// The events without those that a crash made void: of outputs that did not stay.
fn valid(events: &[proto::Event]) -> Vec<proto::Event> {
    let mut valid: Vec<proto::Event> = Vec::new();
    for event in events {
        if let Some(Kind::TurnResumed(resumed)) = &event.kind {
            valid.retain(|before| output_index(before, events).is_none_or(|index| index < resumed.kept_output_count));
        }
        valid.push(event.clone());
    }
    valid
}

/// The place of the output that an event tells of.
fn output_index(event: &proto::Event, events: &[proto::Event]) -> Option<i32> {
    let told = |event: &proto::Event| match &event.kind {
        Some(Kind::MessageOutputDelta(delta)) => Some((delta.entry_id.clone(), delta.output_index)),
        Some(Kind::FunctionCallDelta(delta)) => Some((delta.entry_id.clone(), delta.output_index)),
        Some(Kind::ToolExecutionStarted(run)) => Some((run.entry_id.clone(), run.output_index)),
        _ => None,
    };
    match &event.kind {
        Some(Kind::EntryDone(done)) => {
            let id = &done.entry.as_ref()?.id;
            events.iter().filter_map(told).find(|(entry, _)| entry == id).map(|(_, index)| index)
        }
        _ => told(event).map(|(_, index)| index),
    }
}

/// Sequences go on without gaps from `first`, whether events were merged or not.
pub(crate) fn assert_gapless(events: &[proto::Event], first: i64) {
    let mut next = first;
    for event in events.iter().filter(|event| name(event) != "heartbeat") {
        assert_eq!(event.first_sequence, next, "a gap before {event:?}");
        assert!(event.sequence >= event.first_sequence);
        assert!(event.sequence == event.first_sequence || name(event).ends_with("_delta"), "merged: {event:?}");
        assert_eq!(event.turn_id, events[0].turn_id);
        next = event.sequence + 1;
    }
}

/// The texts or arguments of a finished entry, thinking included.
fn text_in(entry: &proto::Entry) -> String {
    match &entry.kind {
        Some(entry::Kind::MessageOutput(message)) => message.content.iter().map(chunk_text).collect(),
        Some(entry::Kind::FunctionCall(call)) => call.arguments.clone(),
        Some(entry::Kind::ToolExecution(run)) => run.arguments.clone(),
        Some(entry::Kind::HumanHandoff(asked)) => asked.message.clone(),
        // Told as a whole: what the service says to a model in between is an output of the turn.
        Some(entry::Kind::AgentHandoff(_) | entry::Kind::MessageInput(_)) => String::new(),
        other => panic!("not an output: {other:?}"),
    }
}

fn text_told(events: &[proto::Event], entry_id: &str) -> String {
    let pieces = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::MessageOutputDelta(delta)) if delta.entry_id == entry_id => delta.content.as_ref().map(chunk_text),
        Some(Kind::FunctionCallDelta(delta)) if delta.entry_id == entry_id => Some(delta.arguments.clone()),
        Some(Kind::ToolExecutionStarted(run)) if run.entry_id == entry_id => Some(run.arguments.clone()),
        Some(Kind::ToolExecutionDelta(run)) if run.entry_id == entry_id => Some(run.arguments.clone()),
        Some(Kind::HumanHandoff(asked)) if asked.entry_id == entry_id => Some(asked.message.clone()),
        _ => None,
    });
    pieces.collect()
}

fn chunk_text(chunk: &proto::Chunk) -> String {
    match &chunk.kind {
        Some(chunk::Kind::Text(text)) => text.clone(),
        Some(chunk::Kind::Thinking(thinking)) => thinking.content.iter().map(chunk_text).collect(),
        _ => String::new(),
    }
}

/// The log with every run of deltas of one chunk merged: equal for all readers, however far each of them lagged.
pub(crate) fn merged(events: &[proto::Event]) -> Vec<proto::Event> {
    let mut merged: Vec<proto::Event> = Vec::new();
    for event in events.iter().filter(|event| name(event) != "heartbeat") {
        if !merged.last_mut().is_some_and(|last| goes_on(last, event)) {
            merged.push(event.clone());
        }
    }
    merged
}

fn goes_on(last: &mut proto::Event, next: &proto::Event) -> bool {
    let (Some(Kind::MessageOutputDelta(delta)), Some(Kind::MessageOutputDelta(more))) = (&mut last.kind, &next.kind)
    else {
        return false;
    };
    let (Some(chunk::Kind::Text(text)), Some(chunk::Kind::Text(piece))) = (
        delta.content.as_mut().and_then(|chunk| chunk.kind.as_mut()),
        more.content.as_ref().and_then(|chunk| chunk.kind.as_ref()),
    ) else {
        return false;
    };
    if (&delta.entry_id, delta.content_index) != (&more.entry_id, more.content_index) {
        return false;
    }
    text.push_str(piece);
    (last.sequence, last.created_at) = (next.sequence, next.created_at);
    true
}

/// Waits until the server has seen all calls end that this client has dropped before: it drops one more, which nobody can come
/// back to, and that one's end shows at the provider. Takes the provider's next reply for it.
pub(crate) async fn departures_seen(server: &TestServer, client: &Client) {
    server.provider.reply(silence());
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.start(start("I leave too")).await });
    while server.provider.next_request().await.json["messages"][0]["content"] != "I leave too" {}
    call.abort();
    soon(server.provider.connection_dropped()).await;
}
