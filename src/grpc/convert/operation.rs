//! Turns as long-running operations (AIP-151), for clients that know those and nothing of ours.

use std::time::Duration;

use tonic::Code;
use tonic_types::pb;

use super::{
    background, failure,
    path::Path,
    rules, turn,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{Failure, Turn, TurnId, TurnState},
    grpc::page_token::Page,
    proto::longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
        WaitOperationRequest, operation,
    },
};

const COLLECTION: &str = "operations";
/// How an `Any` names a turn.
const TURN: &str = "causerie.v1.Turn";
/// Generic clients name any time that they like; waiting longer than this is asking again.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// More than a hundred years is no time to wait, but a mistake.
const MAX_TIMEOUT_SECONDS: i64 = 100 * 366 * 86_400;

/// Which operations to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOperations {
    /// Only turns that stand so; empty: however they stand.
    pub states: Vec<TurnState>,
    /// Which page.
    pub page: Page,
}

/// Which turn GetOperation reads.
pub fn get(request: &GetOperationRequest) -> Result<TurnId, Failure> {
    let GetOperationRequest { name } = request;
    of(name)
}

/// Which turn CancelOperation stops.
pub fn cancel(request: &CancelOperationRequest) -> Result<TurnId, Failure> {
    let CancelOperationRequest { name } = request;
    of(name)
}

/// Which turn DeleteOperation names.
pub fn delete(request: &DeleteOperationRequest) -> Result<TurnId, Failure> {
    let DeleteOperationRequest { name } = request;
    of(name)
}

/// Which turn WaitOperation waits for, and how long.
pub fn wait(request: &WaitOperationRequest) -> Result<(TurnId, Duration), Failure> {
    let WaitOperationRequest { name, timeout } = request;
    violations::read(Rules::All, |violations| {
        let id = read_name(name, violations);
        let timeout = match timeout {
            Some(_) => background::read_wait(&Path::root("timeout"), *timeout, MAX_TIMEOUT_SECONDS, violations),
            None => Some(MAX_WAIT),
        };
        Some((id?, timeout?.min(MAX_WAIT)))
    })
}

/// What ListOperations is asked.
pub fn list(mut request: ListOperationsRequest) -> Result<ListOperations, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListOperations", &request, (page.0, &page.1), violations);
        // There is one server: it answers or it doesn't.
        let ListOperationsRequest { name, filter, page_size: _, page_token: _, return_partial_success: _ } = request;
        if !["", COLLECTION].contains(&name.as_str()) {
            violations.add(&at.field("name"), format_args!("must be `{COLLECTION}`, or left out"));
        }
        let states = read_filter(&at.field("filter"), &filter, violations);
        Some(ListOperations { states: states?, page: page? })
    })
}

fn of(name: &str) -> Result<TurnId, Failure> {
    violations::read(Rules::All, |violations| read_name(name, violations))
}

fn read_name(name: &str, violations: &mut Violations) -> Option<TurnId> {
    let at = Path::root("name");
    match name.strip_prefix(COLLECTION).and_then(|rest| rest.strip_prefix('/')) {
        Some(id) => rules::turn_id(&at, id, violations),
        None => {
            violations.add(&at, format_args!("must be `{COLLECTION}/` and the id of a turn"));
            None
        }
    }
}

/// The states of a filter (AIP-160, as much of it as operations need).
fn read_filter(at: &Path<'_>, filter: &str, violations: &mut Violations) -> Option<Vec<TurnState>> {
    let words: String = filter.split_whitespace().collect();
    let done = match words.as_str() {
        "" => return Some(Vec::new()),
        "done=true" => true,
        "done=false" => false,
        _ => {
            violations.add(at, format_args!("must be `done = true` or `done = false`, or left out"));
            return None;
        }
    };
    Some(TurnState::ALL.into_iter().filter(|state| state.has_ended() == done).collect())
}

/// A turn as an operation. One that made no version has no response: its error is the operation's.
pub fn write(turn: &Turn) -> Operation {
    let (done, whole) = (turn.state.has_ended(), turn::write(turn));
    let result = done.then(|| match (turn.state, &turn.error) {
        (TurnState::Failed | TurnState::Cancelled, Some(error)) => operation::Result::Error(failure::write(error)),
        (TurnState::Failed | TurnState::Cancelled, None) => operation::Result::Error(pb::Status {
            code: Code::Unknown as i32,
            message: "nobody knows why".to_owned(),
            details: Vec::new(),
        }),
        _ => operation::Result::Response(failure::any(TURN, &whole)),
    });
    let metadata = failure::any(TURN, &crate::proto::Turn { outputs: Vec::new(), ..whole });
    Operation { name: format!("{COLLECTION}/{}", turn.id), metadata: Some(metadata), done, result }
}
