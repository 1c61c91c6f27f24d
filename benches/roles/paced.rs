//! A provider with one stream at a steady pace: it waits after the first piece until it is told to go on, and says afterwards how
//! long the rest took and how long it was held back.

use std::{cell::Cell, rc::Rc, time::SystemTime};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::LocalSet,
    time::{Duration, Instant, sleep_until},
};

use super::canned::{Canned, Stamp, pieces, stream_text};
use crate::{Result, http::Messages};

/// Between two pieces: fifty a second, as models talk.
const PACE: Duration = Duration::from_millis(20);

/// What `?go` and `?took` are told of.
#[derive(Debug, Default)]
struct Stage {
    go: Notify,
    took: Cell<Duration>,
    longest: Cell<Duration>,
    sent: Cell<usize>,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener) -> Result<()> {
    let stage = Rc::new(Stage::default());
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let stage = stage.clone();
                tokio::task::spawn_local(async move {
                    // A caller that hangs up is no fault.
                    drop(answer_all(stream, &stage).await);
                });
            }
        })
        .await
}

async fn answer_all(mut stream: TcpStream, stage: &Stage) -> Result<()> {
    let mut messages = Messages::new();
    while let Some(message) = messages.next(&mut stream).await? {
        if message.head.starts_with(b"POST ") {
            send(&mut stream, stage).await?;
            continue;
        }
        if message.head.starts_with(b"GET /?go") {
            stage.go.notify_one();
        }
        let Stage { took, longest, sent, .. } = stage;
        let body = format!("{} {} {}", sent.get(), took.get().as_micros(), longest.get().as_micros());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
    }
    Ok(())
}

/// The pace is that of a clock: a piece that is late does not make the next one late.
async fn send(stream: &mut TcpStream, stage: &Stage) -> Result<()> {
    let text = stream_text();
    let canned = Canned::stream(pieces(&text)).writes(Stamp { first: SystemTime::now(), body_bytes: 0 });
    let (first, rest) = canned.split_at(2);
    for write in first {
        stream.write_all(write).await?;
    }
    stage.go.notified().await;
    let begun = Instant::now();
    for (write, turn) in rest.iter().zip(0..) {
        sleep_until(begun + PACE * turn).await;
        let before = Instant::now();
        stream.write_all(write).await?;
        stage.longest.set(stage.longest.get().max(before.elapsed()));
    }
    stage.took.set(begun.elapsed());
    stage.sent.set(rest.len());
    Ok(())
}
