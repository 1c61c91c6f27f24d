//! The provider's stand-in: answers at once, with as little work as can be. The first part of the path says how.

use std::{cell::RefCell, fmt, rc::Rc};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::canned::{Canned, Stamp, pieces, stream_text};
use crate::{
    Result,
    http::{Message, Messages},
    text,
};

/// Parameters of a request stand before or after its messages, and no nearer to the middle than this.
const EDGE_BYTES: usize = 1024;

/// How the stand-in answers. A service is given `http://address/<mode>` as its base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The same answer each time; streams of 200 pieces at full speed.
    Turn,
    /// Answers of 100 B to 2 KB that say when the request arrived.
    Mixed,
    /// The same, counted apart: a run of requests to one of the two gets the same answers, whatever the other does.
    MixedDirect,
    /// Streams that stop after the first piece.
    Stall,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Turn => "turn",
            Mode::Mixed => "mixed",
            Mode::MixedDirect => "direct",
            Mode::Stall => "stall",
        })
    }
}

/// All answers of a mode, used in turn.
#[derive(Debug)]
struct Answers {
    whole: Vec<Canned>,
    streamed: Vec<Canned>,
    asked: usize,
}

#[derive(Debug)]
struct Stage {
    turn: Answers,
    mixed: Answers,
    mixed_direct: Answers,
    stall: Answers,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener) -> Result<()> {
    let stage = Rc::new(RefCell::new(Stage::new()));
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

async fn answer_all(mut stream: TcpStream, stage: &RefCell<Stage>) -> Result<()> {
    let mut messages = Messages::new();
    while let Some(message) = messages.next(&mut stream).await? {
        let Some(mode) = mode(message.head) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        };
        let writes = stage.borrow_mut().answers(mode).answer(&message);
        for write in writes.iter() {
            stream.write_all(write).await?;
        }
        if mode == Mode::Stall {
            // Until the caller hangs up.
            stream.read_u8().await?;
        }
    }
    Ok(())
}

/// `POST /turn/v1/…`
fn mode(head: &[u8]) -> Option<Mode> {
    let path = head.strip_prefix(b"POST /")?;
    let known = [Mode::Turn, Mode::Mixed, Mode::MixedDirect, Mode::Stall];
    known.into_iter().find(|mode| path.starts_with(format!("{mode}/").as_bytes()))
}

impl Stage {
    fn new() -> Stage {
        let answer = text::words(1, text::ANSWER_BYTES);
        let stream = stream_text();
        Stage {
            turn: Answers::new(vec![Canned::completion(&answer)], vec![Canned::stream(pieces(&stream))]),
            mixed: Answers::mixed(),
            mixed_direct: Answers::mixed(),
            stall: Answers::new(vec![Canned::completion(&answer)], vec![Canned::stalled_stream()]),
        }
    }

    fn answers(&mut self, mode: Mode) -> &mut Answers {
        match mode {
            Mode::Turn => &mut self.turn,
            Mode::Mixed => &mut self.mixed,
            Mode::MixedDirect => &mut self.mixed_direct,
            Mode::Stall => &mut self.stall,
        }
    }
}

impl Answers {
    fn new(whole: Vec<Canned>, streamed: Vec<Canned>) -> Answers {
        Answers { whole, streamed, asked: 0 }
    }

    fn mixed() -> Answers {
        let texts = (0..text::MIXED).map(|index| text::words(100 + index as u64, text::mixed_length(index)));
        let (whole, streamed) =
            texts.map(|text| (Canned::stamped_completion(&text), Canned::stamped_stream(&text))).unzip();
        Answers::new(whole, streamed)
    }

    fn answer(&mut self, request: &Message<'_>) -> Rc<[Bytes]> {
        let answers = if wants_stream(request.body) { &self.streamed } else { &self.whole };
        let index = self.asked % answers.len();
        self.asked += 1;
        let stamp = Stamp { first: request.begun, body_bytes: request.body.len() };
        answers[index].writes(stamp)
    }
}

/// Whether the body says so near one of its ends: a search through megabytes of messages would be the stand-in's whole cost.
/// Quotes within a message are escaped, so no text can pass for it.
fn wants_stream(body: &[u8]) -> bool {
    let says = |part: &[u8]| part.windows(13).any(|at| at == b"\"stream\":true");
    says(&body[..body.len().min(EDGE_BYTES)]) || says(&body[body.len().saturating_sub(EDGE_BYTES)..])
}
