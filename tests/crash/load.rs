//! Clients that work until their server is gone.

use std::sync::{Mutex, MutexGuard, OnceLock};

use causerie::proto::{self, event::Kind, restart_request::Boundary, stream_events_request::Request};
use tonic::Status;
use tonic_types::StatusExt;

use super::book::{Book, Said, Sent};
use crate::support::{
    random::Dice,
    server::{Client, append, start},
};

/// A turn to be asked for.
struct Ask {
    request: Request,
    base: Vec<Said>,
    input: String,
    request_id: String,
}

/// Starts, appends, restarts, streamed and not, until the connection breaks. Or only stores bulk.
pub(super) async fn work(mut client: Client, book: &Mutex<Book>, mut dice: Dice, only_bulk: bool) {
    loop {
        let ask = plan(&mut lock(book), &mut dice, only_bulk);
        let answered = match dice.one_in(2) {
            true => unary(&mut client, &ask).await,
            false => streamed(&mut client, book, &ask).await,
        };
        match answered {
            Ok(turn) => lock(book).acknowledge(&ask.base, &ask.input, &turn),
            // A status without details is the client's own: the connection broke.
            Err(status) if status.get_details_error_info().is_none() => return,
            Err(status) => return lock(book).refused.push(status),
        }
    }
}

pub(super) fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().expect("no client panics")
}

fn plan(book: &mut Book, dice: &mut Dice, only_bulk: bool) -> Ask {
    let mut input = book.next_input();
    let back = dice.below(24);
    let recent = book.recent(back).map(|(id, history)| (id.clone(), history.clone()));
    let (mut request, base) = match recent {
        _ if only_bulk => {
            input.push_str(bulk(dice));
            (Request::Start(proto::StartRequest { skip_completion: true, ..start(&input) }), Vec::new())
        }
        Some((id, history)) if dice.one_in(3) => restarting(&id, &history, &input, dice),
        Some((id, history)) if !dice.one_in(4) => (Request::Append(append(&id, &input)), history),
        Some(_) | None => (Request::Start(start(&input)), Vec::new()),
    };
    let request_id = if dice.one_in(2) { format!("request-{}", book.inputs) } else { String::new() };
    match &mut request {
        Request::Start(start) => start.request_id.clone_from(&request_id),
        Request::Append(append) => append.request_id.clone_from(&request_id),
        Request::Restart(restart) => restart.request_id.clone_from(&request_id),
        Request::Resume(_) => unreachable!("not planned"),
    }
    if !request_id.is_empty() {
        let (request, base, input) = (request.clone(), base.clone(), input.clone());
        let sent = Sent { request, base, input, announced: None, acknowledged: None };
        book.requests.insert(request_id.clone(), sent);
    }
    Ask { request, base, input, request_id }
}

/// So much that the store keeps it in several rows, among which a kill can come; no compression makes it less.
fn bulk(dice: &mut Dice) -> &'static str {
    static BULK: OnceLock<String> = OnceLock::new();
    let bulk = BULK.get_or_init(|| (0..500_000).map(|_| char::from(b'!' + dice.below(90) as u8)).collect());
    let from = dice.below(200_000);
    &bulk[from..from + 300_000]
}

fn restarting(id: &str, history: &[Said], input: &str, dice: &mut Dice) -> (Request, Vec<Said>) {
    let known: Vec<usize> = (0..history.len()).filter(|at| history[*at].id.is_some()).collect();
    let at = *dice.pick(&known);
    let keep = dice.one_in(2);
    let request = proto::RestartRequest {
        conversation_id: id.to_owned(),
        from_entry_id: history[at].id.clone().expect("chosen so"),
        boundary: if keep { Boundary::AfterEntry } else { Boundary::BeforeEntry }.into(),
        input: input.to_owned(),
        ..Default::default()
    };
    (Request::Restart(request), history[..at + usize::from(keep)].to_vec())
}

/// Sends a request that is answered once.
pub(super) async fn send(client: &mut Client, request: Request) -> Result<proto::Turn, Status> {
    crate::support::calls::run(client, "crash", request).await
}

async fn unary(client: &mut Client, ask: &Ask) -> Result<proto::Turn, Status> {
    send(client, ask.request.clone()).await
}

async fn streamed(client: &mut Client, book: &Mutex<Book>, ask: &Ask) -> Result<proto::Turn, Status> {
    let request = proto::StreamEventsRequest { request: Some(ask.request.clone()), ..Default::default() };
    let mut stream = client.stream_events(request).await?.into_inner();
    let broken = || Status::unavailable("the stream has no end");
    loop {
        let event = stream.message().await?.ok_or_else(broken)?;
        match event.kind {
            Some(Kind::ResponseStarted(_)) => lock(book).announce(&ask.request_id, &event.turn_id),
            Some(Kind::ResponseDone(done)) => return done.turn.ok_or_else(broken),
            _ => {}
        }
    }
}
