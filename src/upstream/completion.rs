//! An answer while it is read from its connection.

use std::{fmt, time::Duration};

use http::header::CONTENT_TYPE;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::{
    Failure, Fault, FaultClass, Piece, Quota, Reached,
    answer::Answer,
    client::cause,
    origin::Origin,
    secrets::Secrets,
    sse::{Decoder, TooLong},
};
use crate::domain::Reason;

/// After the model has finished: for the usage and the end mark, which come with it or right after it.
const AFTER_FINISH: Duration = Duration::from_secs(2);
/// After the end mark: for the end of the body, without which the connection can't be used again. It is usually there already.
const AFTER_DONE: Duration = Duration::from_millis(50);
/// JSON needs at most six bytes for one of text (`\u0000`), and some for itself.
const JSON_BYTES_PER_OUTPUT_BYTE: usize = 6;
const JSON_FRAME_BYTES: usize = 64 * 1024;

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_timeout: Duration,
    pub(super) max_output_bytes: usize,
}

/// A call whose answer begins.
pub(super) struct Call {
    pub(super) origin: Origin,
    /// What it was sent with, and the answer may quote.
    pub(super) secrets: Secrets,
    pub(super) limits: Limits,
    /// How long to wait for the first byte of the body.
    pub(super) first_byte: Until,
    /// Whether a stream was asked for.
    pub(super) stream: bool,
}

/// How long to wait for something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub(super) at: Instant,
    patience: Duration,
    /// It is the caller's deadline that ends it.
    by_caller: bool,
}

impl Limits {
    fn max_json_bytes(&self) -> usize {
        self.max_output_bytes.saturating_mul(JSON_BYTES_PER_OUTPUT_BYTE).saturating_add(JSON_FRAME_BYTES)
    }
}

impl Until {
    /// So long from now on.
    pub(super) fn after(patience: Duration) -> Until {
        Until { at: Instant::now() + patience, patience, by_caller: false }
    }

    /// But not past the caller's deadline.
    pub(super) fn or_at(self, deadline: Instant) -> Until {
        if deadline < self.at { Until { at: deadline, by_caller: true, ..self } } else { self }
    }

    /// The wait was in vain. `what`: what the provider did.
    pub(super) fn fault(&self, origin: &Origin, what: &str) -> Fault {
        let (class, text) = if self.by_caller {
            (FaultClass::Permanent, format!("the deadline passed before {} had answered", origin.provider))
        } else {
            (FaultClass::Transient, format!("{} {what} for {} ms", origin.provider, self.patience.as_millis()))
        };
        Fault { reached: Reached::Sent, ..Fault::new(class, origin.failure(Reason::Timeout, text)) }
    }
}

/// An answer: a sequence of [`Piece`]s. Dropping it closes the connection at once, and so ends the provider's work.
pub struct Completion {
    /// `None` after the end.
    response: Option<Response>,
    body: Body,
    answer: Box<dyn Answer>,
    /// What ended it, to be told after the pieces before it.
    fault: Option<Fault>,
    quota: Quota,
    origin: Origin,
    secrets: Secrets,
    limits: Limits,
    /// Until it is there. Some servers send the head before the model has read the prompt.
    first_byte: Option<Until>,
    /// When the wait for what follows the finish is over.
    after_finish: Option<Until>,
}

enum Body {
    Events(Decoder),
    Whole(Vec<u8>),
}

impl Completion {
    pub(super) fn new(response: Response, answer: Box<dyn Answer>, call: Call) -> Result<Completion, Fault> {
        let Call { origin, secrets, limits, first_byte, stream } = call;
        let quota = Quota::read(response.headers());
        let body = body_kind(&response, stream, &secrets)
            .map_err(|what| within_answer(broken(origin.protocol(what)), quota, &secrets))?;
        Ok(Completion {
            response: Some(response),
            body,
            answer,
            fault: None,
            quota,
            origin,
            secrets,
            limits,
            first_byte: Some(first_byte),
            after_finish: None,
        })
    }

    /// What the head of the answer says of the provider's rate limits.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The next piece; `None` after the last one. After an error nothing more comes. Cancel safe.
    ///
    /// Fails with TIMEOUT after too long a silence, and with UPSTREAM_PROTOCOL_ERROR if the answer is cut off, too long, or not
    /// what the API promises. Once the model has finished ([`Piece::Finish`]) nothing fails any more.
    pub async fn next(&mut self) -> Option<Result<Piece, Fault>> {
        loop {
            if let Some(piece) = self.answer.pop() {
                return Some(Ok(piece));
            }
            if let Some(fault) = self.fault.take() {
                return Some(Err(within_answer(fault, self.quota, &self.secrets)));
            }
            self.response.as_ref()?;
            if let Err(fault) = self.read().await {
                self.response = None;
                self.answer.stop();
                self.fault = Some(fault).filter(|_| !self.answer.is_finished());
            }
        }
    }

    /// Reads what the network has next.
    async fn read(&mut self) -> Result<(), Fault> {
        let Some(response) = &mut self.response else { return Ok(()) };
        let was_done = self.answer.is_done();
        let silent = match self.first_byte {
            Some(_) => "sent nothing but the head of its answer",
            None => "was silent within its answer",
        };
        let until = match (was_done, self.answer.is_finished()) {
            (true, _) => Until::after(AFTER_DONE),
            // Once for all that may follow: a server that goes on for ever must not keep the answer open.
            (false, true) => {
                let wait = AFTER_FINISH.min(self.limits.idle_timeout);
                *self.after_finish.get_or_insert_with(|| Until::after(wait))
            }
            (false, false) => self.first_byte.unwrap_or_else(|| Until::after(self.limits.idle_timeout)),
        };
        let fault = match timeout_at(until.at, response.chunk()).await {
            Ok(Ok(Some(bytes))) if !was_done => {
                self.first_byte = None;
                return self.take(&bytes).map_err(broken);
            }
            // The end; after the end mark anything else is as good, and is not waited out.
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(broken(self.origin.protocol(format!("it was cut off: {}", cause(&error))))),
            Err(_) => Some(until.fault(&self.origin, silent)),
        };
        self.response = None;
        match fault {
            Some(fault) if !self.answer.is_finished() && !self.answer.is_done() => Err(fault),
            Some(_) | None => self.finish().map_err(broken),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let max_bytes = self.limits.max_json_bytes();
        match &mut self.body {
            Body::Events(decoder) => {
                let answer = &mut self.answer;
                let taken = decoder.push(bytes, max_bytes, |data| answer.take_event(data).map_err(NotTaken::Answer));
                taken.map_err(|why| match why {
                    NotTaken::Answer(failure) => failure,
                    NotTaken::TooLong => {
                        self.origin.protocol(format!("an event of it is longer than {max_bytes} bytes"))
                    }
                })
            }
            Body::Whole(json) if json.len() + bytes.len() > max_bytes => {
                Err(self.origin.protocol(format!("it is longer than {max_bytes} bytes")))
            }
            Body::Whole(json) => {
                json.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The body has ended.
    fn finish(&mut self) -> Result<(), Failure> {
        match &mut self.body {
            Body::Events(decoder) => {
                let answer = &mut self.answer;
                decoder.finish(|data| answer.take_event(data))?;
            }
            Body::Whole(json) => self.answer.take_whole(json)?,
        }
        self.answer.end()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("origin", &self.origin).field("open", &self.response.is_some()).finish()
    }
}

/// Why bytes could not be taken.
enum NotTaken {
    TooLong,
    Answer(Failure),
}

impl From<TooLong> for NotTaken {
    fn from(TooLong: TooLong) -> NotTaken {
        NotTaken::TooLong
    }
}

/// Another answer to the same request may be whole, unless it is the request that has to change.
fn broken(failure: Failure) -> Fault {
    let is_asked_wrongly = failure.reason == Reason::InvalidRequest;
    let class = if is_asked_wrongly { FaultClass::Permanent } else { FaultClass::Transient };
    Fault::new(class, failure)
}

/// After the head of a successful answer.
fn within_answer(mut fault: Fault, quota: Quota, secrets: &Secrets) -> Fault {
    secrets.hide_in(&mut fault.failure);
    Fault { reached: Reached::Answered, quota, ..fault }
}

/// What the body is, by its content type. Gateways that can't stream answer with the whole, which is as good.
fn body_kind(response: &Response, stream: bool, secrets: &Secrets) -> Result<Body, String> {
    let events = Body::Events(Decoder::default());
    let whole = Body::Whole(Vec::new());
    let Some(value) = response.headers().get(CONTENT_TYPE) else { return Ok(if stream { events } else { whole }) };
    let value = value.to_str().unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/event-stream" => Ok(events),
        "application/json" => Ok(whole),
        _ => {
            let mut shown = value.to_owned();
            secrets.hide(&mut shown);
            let shown: String = shown.chars().take(100).collect();
            Err(format!("its content type is {shown:?}, neither text/event-stream nor application/json"))
        }
    }
}
