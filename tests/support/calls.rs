//! Short ways to call the service and to read what it streams.

use causerie::proto::{self, stream_events_request::Request};
use tonic::{Status, Streaming};

use super::{server::Client, status::named};

/// A call that runs a turn, answered once.
pub(crate) async fn run(client: &mut Client, id: &str, request: Request) -> Result<proto::Turn, Status> {
    let answered = match request {
        Request::Start(start) => client.start(named(id, start)).await,
        Request::Append(append) => client.append(named(id, append)).await,
        Request::Restart(restart) => client.restart(named(id, restart)).await,
        Request::Resume(_) => unreachable!("a stream only"),
    };
    answered.map(tonic::Response::into_inner)
}

/// The same as a stream, read to its end: the events, and the status if it is an error.
pub(crate) async fn watch(client: &mut Client, id: &str, request: Request) -> (Vec<proto::Event>, Result<(), Status>) {
    let request = proto::StreamEventsRequest { request: Some(request), ..Default::default() };
    match client.stream_events(named(id, request)).await {
        Ok(stream) => rest(stream.into_inner()).await,
        Err(status) => (Vec::new(), Err(status)),
    }
}

/// The rest of a stream.
pub(crate) async fn rest(mut stream: Streaming<proto::Event>) -> (Vec<proto::Event>, Result<(), Status>) {
    let mut events = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, Ok(())),
            Err(status) => return (events, Err(status)),
        }
    }
}

/// A request to go on with a turn's events.
pub(crate) fn resume(turn_id: &str, after_sequence: i64) -> Request {
    Request::Resume(proto::ResumeRequest { turn_id: turn_id.to_owned(), after_sequence })
}

pub(crate) async fn get_turn(client: &mut Client, turn_id: &str) -> Result<proto::Turn, Status> {
    let request = proto::GetTurnRequest { turn_id: turn_id.to_owned(), wait: None };
    client.get_turn(named("get-turn", request)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn get_conversation(client: &mut Client, id: &str) -> Result<proto::Conversation, Status> {
    let request = proto::GetConversationRequest { conversation_id: id.to_owned() };
    client.get_conversation(named("get-conversation", request)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn delete(client: &mut Client, id: &str, force: bool) -> Result<(), Status> {
    let request = proto::DeleteConversationRequest { conversation_id: id.to_owned(), force };
    client.delete_conversation(named("delete", request)).await.map(tonic::Response::into_inner)
}

/// The whole history of a version.
pub(crate) async fn history(client: &mut Client, id: &str) -> Result<Vec<proto::Entry>, Status> {
    let mut request =
        proto::ListEntriesRequest { conversation_id: id.to_owned(), page_size: 1000, ..Default::default() };
    let mut entries = Vec::new();
    loop {
        let page = client.list_entries(named("history", request.clone())).await?.into_inner();
        entries.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(entries);
        }
    }
}

/// All versions that the filters let through, newest first.
pub(crate) async fn list(
    client: &mut Client,
    mut request: proto::ListConversationsRequest,
) -> Vec<proto::Conversation> {
    let mut found = Vec::new();
    loop {
        let page = client.list_conversations(named("list", request.clone())).await.expect("a page").into_inner();
        found.extend(page.conversations);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return found;
        }
    }
}

/// All versions of the store, newest first.
pub(crate) async fn list_all(client: &mut Client) -> Vec<proto::Conversation> {
    list(client, proto::ListConversationsRequest { page_size: 1000, ..Default::default() }).await
}
