//! What happens in the store as server-sent events: what Watch gives, change by change.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Response;
use tonic::{Status, body::Body};

use super::{
    events,
    plain::{Asked, Readers},
    sse,
};
use crate::{
    domain::Failure,
    proto::{self, json::from_query, watch_request::Start, watch_service_server::WatchService},
};

/// What is no part of the filter.
const OWN: [&str; 3] = ["after_revision", "from_oldest", "include_events"];

/// `GET /v1/watch`: after the revision that the reader had last, from the oldest one, or from now on.
pub(super) async fn changes(readers: &Readers, asked: &Asked) -> Result<Response<Body>, Status> {
    let request = read(asked).map_err(asked.call().refused())?;
    let told = readers.watch.watch(asked.request(request)).await?.into_inner();
    Ok(sse::respond(told.map(|told| write(&told?))))
}

fn read(asked: &Asked) -> Result<proto::WatchRequest, Failure> {
    let pairs: Vec<_> = asked.pairs().collect();
    let (own, filter): (Vec<_>, Vec<_>) =
        pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).partition(|(name, _)| OWN.contains(name));
    let wrong = |(parameter, why): (String, String)| Failure::invalid_field(parameter, why);
    let mut request: proto::WatchRequest = from_query("causerie.v1.WatchRequest", own).map_err(wrong)?;
    request.filter = Some(from_query("causerie.v1.ChangeFilter", filter).map_err(wrong)?);
    if let Some(revision) = sse::position(&asked.headers, None)? {
        request.start = Some(Start::AfterRevision(i64::try_from(revision).unwrap_or(i64::MAX)));
    }
    Ok(request)
}

/// Changes have their revisions as ids. Events of turns have none: they are not what a reader goes on after.
fn write(told: &proto::WatchResponse) -> Result<Bytes, Status> {
    let proto::WatchResponse { changes, events, revision } = told;
    let mut text = String::new();
    for event in events {
        text.push_str(&events::text(None, event)?);
    }
    for change in changes {
        text.push_str(&sse::text(Some(change.revision), &change.r#type, "causerie.v1.Change", change)?);
    }
    // The rest was left out by the filter; the reader's place moves past it all the same.
    if changes.last().is_none_or(|last| last.revision < *revision) {
        let _ = write!(text, ": up to here\nid: {revision}\n\n");
    }
    Ok(Bytes::from(text))
}
