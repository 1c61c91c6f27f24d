//! The provider's stand-in: answers at once, with as little work as can be. The first part of the path says how.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc};

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
    tooling::{self, Use},
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
    /// Asks for tools as often as the model's name says, then answers with a stamp.
    Tools,
    /// Streams that stop after the first piece.
    Stall,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Turn => "turn",
            Mode::Mixed => "mixed",
            Mode::MixedDirect => "direct",
            Mode::Tools => "tools",
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
    tools: Tools,
    stall: Answers,
}

/// Answers with calls of tools, by calls and round, and the one that follows them.
#[derive(Debug)]
struct Tools {
    calls: HashMap<(usize, usize), Canned>,
    last: Canned,
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
        let writes = stage.borrow_mut().answer(mode, &message);
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
    let known = [Mode::Turn, Mode::Mixed, Mode::MixedDirect, Mode::Tools, Mode::Stall];
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
            tools: Tools { calls: HashMap::new(), last: Canned::stamped_completion(&answer) },
            stall: Answers::new(vec![Canned::completion(&answer)], vec![Canned::stalled_stream()]),
        }
    }

    fn answer(&mut self, mode: Mode, request: &Message<'_>) -> Rc<[Bytes]> {
        match mode {
            Mode::Turn => self.turn.answer(request),
            Mode::Mixed => self.mixed.answer(request),
            Mode::MixedDirect => self.mixed_direct.answer(request),
            Mode::Tools => self.tools.answer(request),
            Mode::Stall => self.stall.answer(request),
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
        answers[index].writes(stamp(request))
    }
}

impl Tools {
    /// The first part of a body names the model, the last part is the newest result.
    fn answer(&mut self, request: &Message<'_>) -> Rc<[Bytes]> {
        let [first, last] = edges(request.body);
        let of = Use::of(first).unwrap_or(Use { calls: 0, rounds: 0 });
        let round = tooling::round(last).unwrap_or(0) + 1;
        if round > of.rounds {
            return self.last.writes(stamp(request));
        }
        let canned = self.calls.entry((of.calls, round)).or_insert_with(|| Canned::calls(of.calls, round));
        canned.writes(stamp(request))
    }
}

fn stamp(request: &Message<'_>) -> Stamp {
    Stamp { first: request.begun, body_bytes: request.body.len() }
}

/// Whether the body says so near one of its ends: a search through megabytes of messages would be the stand-in's whole cost.
/// Quotes within a message are escaped, so no text can pass for it.
fn wants_stream(body: &[u8]) -> bool {
    let says = |part: &[u8]| part.windows(13).any(|at| at == b"\"stream\":true");
    edges(body).into_iter().any(says)
}

/// The first and the last part, where parameters stand.
fn edges(body: &[u8]) -> [&[u8]; 2] {
    [&body[..body.len().min(EDGE_BYTES)], &body[body.len().saturating_sub(EDGE_BYTES)..]]
}
