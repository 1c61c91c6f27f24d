//! Callers of the service: tonic clients on several channels, because one HTTP/2 connection is one lock.

use std::time::Duration;

use causerie::proto::{
    AppendRequest, Event, EventView, GetTurnRequest, ListTurnsRequest, StartRequest, StreamEventsRequest, Turn, chunk,
    conversation_service_client::ConversationServiceClient, entry, event::Kind, stream_events_request::Request,
    turn::State,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::{Caller, Meter, direct::MODEL};
use crate::{Result, text};

/// A client on one of the channels.
pub(crate) type Client = ConversationServiceClient<Channel>;

/// How many callers share a channel, as long as there are no more than [`CHANNELS_MAX`].
const CALLERS_A_CHANNEL: usize = 8;

const CHANNELS_MAX: usize = 16;

/// Asks for turns: conversations of so many, one after the other.
#[derive(Debug)]
pub(crate) struct Turns {
    client: Client,
    question: String,
    turns: usize,
    /// Turns that the conversation has, and its newest version.
    conversation: (usize, String),
}

/// Starts conversations and reads the events of their first turns.
#[derive(Debug)]
pub(crate) struct Streams {
    client: Client,
    question: String,
}

/// One client for each caller, on as many channels as are good for so many.
pub(crate) async fn clients(uri: &str, callers: usize) -> Result<Vec<Client>> {
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(CALLERS_A_CHANNEL).min(CHANNELS_MAX) {
        channels.push(Endpoint::from_shared(uri.to_owned())?.connect().await?);
    }
    Ok((0..callers).map(|index| Client::new(channels[index % channels.len()].clone())).collect())
}

/// Callers that ask for turns.
pub(crate) async fn turns(uri: &str, callers: usize, turns: usize) -> Result<Vec<Turns>> {
    let question = text::words(2, text::QUESTION_BYTES);
    let clients = clients(uri, callers).await?.into_iter();
    Ok(clients
        .map(|client| Turns { client, question: question.clone(), turns, conversation: (0, String::new()) })
        .collect())
}

/// Callers that read streams.
pub(crate) async fn streams(uri: &str, callers: usize) -> Result<Vec<Streams>> {
    let question = text::words(2, text::QUESTION_BYTES);
    let clients = clients(uri, callers).await?.into_iter();
    Ok(clients.map(|client| Streams { client, question: question.clone() }).collect())
}

/// A Start with one question.
pub(crate) fn start(question: String) -> StartRequest {
    StartRequest { model: MODEL.to_owned(), input: question, ..StartRequest::default() }
}

/// An Append of one question.
pub(crate) fn append(conversation_id: String, question: String) -> AppendRequest {
    AppendRequest { conversation_id, input: question, ..AppendRequest::default() }
}

/// A stream of a first turn.
pub(crate) fn stream(question: String) -> StreamEventsRequest {
    StreamEventsRequest { request: Some(Request::Start(start(question))), ..StreamEventsRequest::default() }
}

/// The turn, which must have been completed.
pub(crate) fn completed(turn: Turn) -> Result<Turn> {
    if turn.state() == State::Completed { Ok(turn) } else { Err(format!("a turn was not completed: {turn:?}").into()) }
}

/// The text of a turn's last answer.
pub(crate) fn answer(turn: &Turn) -> Option<&str> {
    let Some(entry::Kind::MessageOutput(message)) = &turn.outputs.last()?.kind else { return None };
    match &message.content.first()?.kind {
        Some(chunk::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    }
}

/// The deltas that an event stands for; merged ones count as what they carry.
pub(crate) fn deltas(event: &Event) -> u64 {
    match event.kind {
        Some(Kind::MessageOutputDelta(_)) => (event.sequence - event.first_sequence + 1).unsigned_abs(),
        _ => 0,
    }
}

/// Starts turns that ask the provider for streams, and waits for their ends only.
#[derive(Debug)]
pub(crate) struct Followed {
    client: Client,
    question: String,
}

/// Starts background turns, and waits for none of them.
#[derive(Debug)]
pub(crate) struct Queued {
    client: Client,
    question: String,
}

/// Callers that follow turns without their deltas.
pub(crate) async fn followed(uri: &str, callers: usize) -> Result<Vec<Followed>> {
    let question = text::words(2, text::QUESTION_BYTES);
    let clients = clients(uri, callers).await?.into_iter();
    Ok(clients.map(|client| Followed { client, question: question.clone() }).collect())
}

/// Callers that queue turns.
pub(crate) async fn queued(uri: &str, callers: usize) -> Result<Vec<Queued>> {
    let question = text::words(2, text::QUESTION_BYTES);
    let clients = clients(uri, callers).await?.into_iter();
    Ok(clients.map(|client| Queued { client, question: question.clone() }).collect())
}

/// Waits until no turn waits or runs any more.
pub(crate) async fn until_idle(client: &mut Client) -> Result<()> {
    let states = vec![State::Queued.into(), State::Running.into()];
    let list = ListTurnsRequest { page_size: 1, states, ..ListTurnsRequest::default() };
    // The newest one is about the last that is run.
    while let Some(turn) = client.list_turns(list.clone()).await?.into_inner().turns.pop() {
        let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        client.get_turn(GetTurnRequest { turn_id: turn.id, wait }).await?;
    }
    Ok(())
}

impl Caller for Followed {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        let request = StreamEventsRequest { view: EventView::Lifecycle.into(), ..stream(self.question.clone()) };
        let mut events = self.client.stream_events(request).await?.into_inner();
        let mut done = false;
        while let Some(event) = events.message().await? {
            done |= matches!(event.kind, Some(Kind::ResponseDone(_)));
        }
        meter.add(1);
        if done { Ok(None) } else { Err("a stream ended before its turn".into()) }
    }
}

impl Caller for Queued {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        self.client.start(StartRequest { background: true, ..start(self.question.clone()) }).await?;
        meter.add(1);
        Ok(None)
    }
}

impl Caller for Turns {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        let (made, version) = &mut self.conversation;
        let question = self.question.clone();
        let answer = if *made == 0 {
            self.client.start(start(question)).await?
        } else {
            self.client.append(append(std::mem::take(version), question)).await?
        };
        *version = completed(answer.into_inner())?.conversation_id;
        *made = (*made + 1) % self.turns;
        meter.add(1);
        Ok(None)
    }
}

impl Caller for Streams {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let mut events = self.client.stream_events(stream(self.question.clone())).await?.into_inner();
        let (mut first, mut done) = (None, false);
        while let Some(event) = events.message().await? {
            let carried = deltas(&event);
            if carried > 0 {
                // Not `response_started`, which needs no provider.
                first.get_or_insert_with(|| begun.elapsed());
                meter.add(carried);
            }
            done |= matches!(event.kind, Some(Kind::ResponseDone(_)));
        }
        if done { Ok(first) } else { Err("a stream ended before its turn".into()) }
    }
}
