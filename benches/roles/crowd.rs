//! Many who read: the streams of thousands of readers in a process of their own, so that what they cost is not on the bill of the
//! service. It is told what to do in lines: `turn ID COUNT` and `watch COUNT` open streams, answered when each of them has had its
//! first message; `end` is answered when all turns were read to their end.

use std::{cell::RefCell, rc::Rc};

use causerie::proto::{
    Event, ResumeRequest, StreamEventsRequest, WatchRequest, WatchResponse,
    conversation_service_client::ConversationServiceClient, event::Kind, stream_events_request::Request,
    watch_service_client::WatchServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinSet, LocalSet},
};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use crate::Result;

/// Streams on one connection: fewer than `limits.max_streams_per_connection`.
const STREAMS_A_CONNECTION: usize = 500;

/// Many small frames of streams that are not read at once must not look like an attack: see the README.
const WINDOW: u32 = 64 << 20;

/// What came, of all streams together.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    events: u64,
}

/// Serves one connection after the other until the process ends.
pub(super) async fn serve(listener: TcpListener, uri: String) -> Result<()> {
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                command(stream, &uri).await?;
            }
        })
        .await
}

async fn command(stream: TcpStream, uri: &str) -> Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    let (tally, mut readers) = (Rc::new(RefCell::new(Tally::default())), JoinSet::new());
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["turn", id, count] => open_turn(uri, id, count.parse()?, &tally, &mut readers).await?,
            ["watch", count] => open_watch(uri, count.parse()?, &tally, &mut readers).await?,
            ["end"] => {
                while let Some(reader) = readers.join_next().await {
                    reader??;
                }
            }
            _ => return Err(format!("{line:?} is no command").into()),
        }
        let Tally { messages, events } = *tally.borrow();
        to.write_all(format!("{messages} {events}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn channels(uri: &str, streams: usize) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(uri.to_owned())?
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW);
    let mut channels = Vec::new();
    for _ in 0..streams.div_ceil(STREAMS_A_CONNECTION) {
        channels.push(endpoint.connect().await?);
    }
    Ok(channels)
}

async fn open_turn(
    uri: &str,
    id: &str,
    count: usize,
    tally: &Rc<RefCell<Tally>>,
    readers: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let channels = channels(uri, count).await?;
    for index in 0..count {
        let mut client = ConversationServiceClient::new(channels[index / STREAMS_A_CONNECTION].clone());
        let resume = Request::Resume(ResumeRequest { turn_id: id.to_owned(), after_sequence: 0 });
        let request = StreamEventsRequest { request: Some(resume), ..StreamEventsRequest::default() };
        let mut events = client.stream_events(request).await?.into_inner();
        let first = events.message().await?.ok_or("a stream without events")?;
        let tally = tally.clone();
        readers.spawn_local(async move { read(first, events, &tally).await });
    }
    Ok(())
}

/// Each event once, and the end.
async fn read(first: Event, mut events: Streaming<Event>, tally: &RefCell<Tally>) -> Result<()> {
    let (mut next, mut event) = (1, Some(first));
    while let Some(got) = event {
        if got.first_sequence != next && got.sequence != 0 {
            return Err(format!("{} came in place of {next}", got.first_sequence).into());
        }
        if got.sequence != 0 {
            next = got.sequence + 1;
            let mut tally = tally.borrow_mut();
            tally.messages += 1;
            tally.events += (got.sequence - got.first_sequence + 1).unsigned_abs();
        }
        if matches!(got.kind, Some(Kind::ResponseDone(_))) {
            return Ok(());
        }
        event = events.message().await?;
    }
    Err("a stream ended before its turn".into())
}

async fn open_watch(
    uri: &str,
    count: usize,
    tally: &Rc<RefCell<Tally>>,
    readers: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let channels = channels(uri, count).await?;
    for index in 0..count {
        let mut client = WatchServiceClient::new(channels[index / STREAMS_A_CONNECTION].clone());
        let mut told = client.watch(WatchRequest::default()).await?.into_inner();
        told.message().await?.ok_or("a watch without its first message")?;
        let tally = tally.clone();
        readers.spawn_local(async move {
            while let Some(WatchResponse { changes, .. }) = told.message().await? {
                let mut tally = tally.borrow_mut();
                tally.messages += 1;
                tally.events += changes.len() as u64;
            }
            Ok(())
        });
    }
    Ok(())
}
