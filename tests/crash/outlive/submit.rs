//! Callers that ask for turns until their server is gone.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use causerie::proto::{self, ConcurrencyPolicy, stream_events_request::Request};
use tonic::Status;
use tonic_types::StatusExt;

use super::{
    known::{Accepted, Known, Sent, lock, version_of},
    read,
};
use crate::support::{
    calls,
    random::Dice,
    server::{Client, append, start},
};

/// More turns than these are not queued: the callers wait for some of them.
const OPEN: usize = 40;

/// What turns need that not all of them have.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) tools: Arc<[proto::Tool]>,
    pub(super) callback_url: String,
}

/// Starts, appends and lines up behind turns in flight, in the background and not; reads some of the turns, cancels some.
pub(super) async fn work(client: Client, known: Arc<Mutex<Known>>, means: Means, dice: Dice) {
    let mut caller = Caller { client, known, means, dice };
    while let ControlFlow::Continue(()) = caller.once().await {}
}

struct Caller {
    client: Client,
    known: Arc<Mutex<Known>>,
    means: Means,
    dice: Dice,
}

impl Caller {
    async fn once(&mut self) -> ControlFlow<()> {
        let (request, accepted) = self.plan();
        let answered = calls::run(&mut self.client, "outlive", request).await;
        let turn = self.answered(answered)?;
        lock(&self.known).accept(&accepted, &turn);
        if self.dice.one_in(3) {
            let dice = Dice::new(self.dice.number());
            let read = read::to_end(self.client.clone(), &self.known, &turn.id, dice).await;
            self.answered(read)?;
        } else if accepted.doomed {
            let request = proto::CancelTurnRequest { turn_id: turn.id };
            let answered = self.client.cancel_turn(request).await.map(tonic::Response::into_inner);
            let turn = self.answered(answered)?;
            lock(&self.known).stands(&turn);
        }
        self.wait_for_room().await
    }

    async fn wait_for_room(&mut self) -> ControlFlow<()> {
        let waited_for = {
            let known = lock(&self.known);
            known.open.first().filter(|_| known.open.len() > OPEN).cloned()
        };
        if let Some(turn_id) = waited_for {
            let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
            let answered = self.client.get_turn(proto::GetTurnRequest { turn_id, wait }).await;
            let turn = self.answered(answered.map(tonic::Response::into_inner))?;
            lock(&self.known).stands(&turn);
        }
        ControlFlow::Continue(())
    }

    /// A status without details is the client's own: the connection broke.
    fn answered<T>(&self, answered: Result<T, Status>) -> ControlFlow<(), T> {
        match answered {
            Ok(answer) => return ControlFlow::Continue(answer),
            Err(status) if status.get_details_error_info().is_none() => {}
            Err(status) => lock(&self.known).refused.push(status),
        }
        ControlFlow::Break(())
    }

    fn plan(&mut self) -> (Request, Accepted) {
        let (known, dice) = (&mut *lock(&self.known), &mut self.dice);
        let input = known.next_input();
        let request_id = if dice.one_in(2) { format!("request-{}", known.inputs) } else { String::new() };
        let recent = known.lines.iter().rev().nth(dice.below(12)).cloned();
        let background = !dice.one_in(5);
        let callback_url = if dice.one_in(4) { self.means.callback_url.clone() } else { String::new() };
        let accepted =
            Accepted { input: input.clone(), doomed: background && dice.one_in(8), callback: !callback_url.is_empty() };
        let request = match recent {
            Some(turn_id) if !dice.one_in(3) => {
                // Of a turn that may be in flight: behind it.
                let concurrency_policy = ConcurrencyPolicy::Enqueue.into();
                let request = append(&version_of(&turn_id), &input);
                let request_id = request_id.clone();
                let request = proto::AppendRequest { request_id, concurrency_policy, background, ..request };
                Request::Append(proto::AppendRequest { callback_url, ..request })
            }
            _ => {
                // Whoever asks for tools needs a turn that goes on after a crash.
                let tools = if background && dice.one_in(2) { self.means.tools.to_vec() } else { Vec::new() };
                let request_id = request_id.clone();
                Request::Start(proto::StartRequest { request_id, tools, background, callback_url, ..start(&input) })
            }
        };
        if !request_id.is_empty() {
            let sent = Sent { request: request.clone(), accepted: accepted.clone(), turn_id: None };
            known.requests.insert(request_id, sent);
        }
        (request, accepted)
    }
}
