//! Bodies with a pace: chunk by chunk, cut short, or never ending.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Complete,
    /// The connection is dropped.
    Cut,
    /// Nothing more comes until the client leaves or the stand-in stops.
    Stall,
}

/// The pieces of a body and how they are sent.
pub(super) struct Paced {
    pub(super) pieces: Vec<Bytes>,
    /// Pause before every piece but the first.
    pub(super) pace: Duration,
    pub(super) end: End,
    pub(super) stopping: CancellationToken,
}

impl Paced {
    pub(super) fn into_body(self) -> Body {
        let Self { pieces, pace, end, stopping } = self;
        let state = (pieces.into_iter(), Duration::ZERO);
        Body::from_stream(stream::unfold(Some(state), move |state| {
            let stopping = stopping.clone();
            async move {
                let (mut pieces, pause) = state?;
                let Some(piece) = pieces.next() else {
                    return finish(end, &stopping).await.map(|error| (Err(error), None));
                };
                if !sleep(pause, &stopping).await {
                    return Some((Err(dropped()), None));
                }
                Some((Ok(piece), Some((pieces, pace))))
            }
        }))
    }
}

/// Waits, unless the stand-in stops meanwhile; then false.
pub(super) async fn sleep(time: Duration, stopping: &CancellationToken) -> bool {
    if time.is_zero() {
        return !stopping.is_cancelled();
    }
    tokio::select! {
        () = stopping.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

async fn finish(end: End, stopping: &CancellationToken) -> Option<io::Error> {
    match end {
        End::Complete => None,
        End::Cut => {
            // Let the server flush the pieces before the error: it drops what it still holds.
            tokio::task::yield_now().await;
            Some(dropped())
        }
        End::Stall => {
            stopping.cancelled().await;
            Some(dropped())
        }
    }
}

/// An error in a body makes the server drop the connection in the middle of the answer.
fn dropped() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}
