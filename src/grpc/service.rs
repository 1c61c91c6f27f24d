//! `ConversationService`: decode, ask the engine, encode. No rule of the product is decided here.

use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    convert::{
        self,
        request::{View, Watched},
    },
    layers::{deadline::Deadline, request_id::RequestId},
    status::{Spent, status},
    stream, transfer,
};
use crate::{
    domain::{ConversationId, Failure, Reason, TurnId, request::TurnRequest},
    engine::{Caller, ConversationRow, Engine, EntryQuery, Query, Reader, Secret, Submitted, TreeCursor, TurnQuery},
    proto::{self, conversation_service_server::ConversationService},
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Service {
    engine: Engine,
    heartbeat: Duration,
}

type EventStream = Pin<Box<dyn Stream<Item = Result<proto::Event, Status>> + Send>>;

impl Service {
    /// Serves this engine. Streams say something after so much silence.
    pub(super) fn new(engine: Engine, heartbeat: Duration) -> Service {
        Service { engine, heartbeat }
    }

    async fn run(&self, call: &Call, request: Result<TurnRequest, Failure>) -> Result<Response<proto::Turn>, Status> {
        let request = request.map_err(call.refused())?;
        let caller = Caller { deadline: call.deadline, streaming: false, key: call.key.clone() };
        let handle = match self.engine.submit(request, caller).await.map_err(call.refused())? {
            Submitted::Followed(handle) => handle,
            Submitted::Queued(turn) => return Ok(Response::new(convert::turn::write(&turn))),
        };
        match handle.finished().await {
            Ok(turn) => Ok(Response::new(convert::turn::write(&turn))),
            Err(ended) => Err(status(&ended.failure, &call.id, spent(ended.spent))),
        }
    }
}

/// What an answer may take to its caller.
const SHORTEST_WAY_BACK: Duration = Duration::from_millis(50);
const LONGEST_WAY_BACK: Duration = Duration::from_secs(2);

/// What a call says of itself besides its message.
pub(super) struct Call {
    /// For statuses.
    pub(super) id: String,
    pub(super) deadline: Option<Instant>,
    /// The caller's own key for the provider.
    pub(super) key: Option<Secret>,
}

impl Call {
    pub(super) fn of<T>(request: &Request<T>) -> Call {
        let extensions = request.extensions();
        Call {
            id: extensions.get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            deadline: extensions.get::<Deadline>().map(|deadline| deadline.0),
            key: key(request.metadata()),
        }
    }

    /// Until when a call waits that wants to wait so long: its answer still has to arrive before the call's deadline.
    pub(super) fn patience(&self, wait: Duration) -> Instant {
        let now = Instant::now();
        let left = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            left.saturating_sub((left / 20).clamp(SHORTEST_WAY_BACK, LONGEST_WAY_BACK))
        });
        now + left.map_or(wait, |left| left.min(wait))
    }

    /// The status of a call that was refused before anything was spent.
    pub(super) fn refused(&self) -> impl Fn(Failure) -> Status + '_ {
        |failure| status(&failure, &self.id, Spent::Nothing)
    }
}

/// The caller's own key for the provider. One that can't be read is none that a provider takes, and is refused as such.
fn key(metadata: &MetadataMap) -> Option<Secret> {
    metadata.get("x-provider-api-key").map(|value| Secret::new(value.to_str().unwrap_or_default()))
}

pub(super) fn spent(tokens: bool) -> Spent {
    if tokens { Spent::Tokens } else { Spent::Nothing }
}

/// A reader of a turn that was asked for with its events.
fn followed(submitted: Submitted) -> Result<Reader, Failure> {
    match submitted {
        Submitted::Followed(handle) => Ok(handle.reader(0)),
        Submitted::Queued(_) => Err(Failure::new(Reason::Internal, "a turn with a reader was queued without one")),
    }
}

fn row(row: &ConversationRow) -> proto::Conversation {
    convert::version::write(&row.version, row.head, row.expires_at)
}

#[tonic::async_trait]
impl ConversationService for Service {
    type StreamEventsStream = EventStream;
    type ExportConversationsStream = transfer::ExportStream;

    async fn start(&self, request: Request<proto::StartRequest>) -> Result<Response<proto::Turn>, Status> {
        let call = Call::of(&request);
        self.run(&call, convert::request::start("", request.into_inner())).await
    }

    async fn append(&self, request: Request<proto::AppendRequest>) -> Result<Response<proto::Turn>, Status> {
        let call = Call::of(&request);
        self.run(&call, convert::request::append("", request.into_inner())).await
    }

    async fn restart(&self, request: Request<proto::RestartRequest>) -> Result<Response<proto::Turn>, Status> {
        let call = Call::of(&request);
        self.run(&call, convert::request::restart("", request.into_inner())).await
    }

    async fn stream_events(
        &self,
        request: Request<proto::StreamEventsRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let call = Call::of(&request);
        let asked = convert::request::stream_events(request.into_inner()).map_err(call.refused())?;
        let reader = match asked.watched {
            Watched::Run(turn) => {
                let caller = Caller { deadline: call.deadline, streaming: true, key: call.key.clone() };
                self.engine.submit(*turn, caller).await.and_then(followed)
            }
            Watched::Resume { turn_id, after_sequence } => self.engine.resume(turn_id, after_sequence).await,
        };
        let reader = reader.map_err(call.refused())?;
        let lifecycle = asked.view == View::Lifecycle;
        let Call { id: request_id, deadline, key: _ } = call;
        let terms = stream::Terms { lifecycle, heartbeat: self.heartbeat, deadline, request_id };
        Ok(Response::new(Box::pin(stream::events(reader, terms))))
    }

    async fn get_turn(&self, request: Request<proto::GetTurnRequest>) -> Result<Response<proto::Turn>, Status> {
        let call = Call::of(&request);
        let (id, wait) = convert::lookup::get_turn(request.get_ref()).map_err(call.refused())?;
        let turn = self.engine.wait(id, call.patience(wait)).await.map_err(call.refused())?;
        Ok(Response::new(convert::turn::write(&turn)))
    }

    async fn list_turns(
        &self,
        request: Request<proto::ListTurnsRequest>,
    ) -> Result<Response<proto::ListTurnsResponse>, Status> {
        let call = Call::of(&request);
        let asked = convert::list::turns(request.into_inner()).map_err(call.refused())?;
        let convert::list::ListTurns { states, tree_of, metadata, created_after, created_before, batch_id, page } =
            asked;
        let root = match tree_of {
            Some(id) => Some(self.engine.root_to_be(id).await.map_err(call.refused())?),
            None => None,
        };
        let below = cursor(page.cursor.as_deref(), TurnId::from_bytes).map_err(call.refused())?;
        let query = TurnQuery { states, root, metadata, created_after, created_before, batch: batch_id };
        let found = self.engine.turns(query, below, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListTurnsResponse {
            turns: found.turns.iter().map(convert::turn::write).collect(),
            next_page_token: found.next.map(|id| page.next_token(id.as_bytes())).unwrap_or_default(),
        }))
    }

    async fn cancel_turn(&self, request: Request<proto::CancelTurnRequest>) -> Result<Response<proto::Turn>, Status> {
        let call = Call::of(&request);
        let id = convert::lookup::cancel_turn(request.get_ref()).map_err(call.refused())?;
        let turn = self.engine.cancel(id).await.map_err(call.refused())?;
        Ok(Response::new(convert::turn::write(&turn)))
    }

    async fn get_conversation(
        &self,
        request: Request<proto::GetConversationRequest>,
    ) -> Result<Response<proto::Conversation>, Status> {
        let call = Call::of(&request);
        let id = convert::lookup::get_conversation(request.get_ref()).map_err(call.refused())?;
        let found = self.engine.conversation(id).await.map_err(call.refused())?;
        Ok(Response::new(row(&found)))
    }

    async fn list_conversations(
        &self,
        request: Request<proto::ListConversationsRequest>,
    ) -> Result<Response<proto::ListConversationsResponse>, Status> {
        let call = Call::of(&request);
        let asked = convert::list::conversations(request.into_inner()).map_err(call.refused())?;
        let convert::list::ListConversations {
            heads_only,
            tree_of,
            model,
            agent_id,
            metadata,
            created_after,
            created_before,
            page,
        } = asked;
        let root = match tree_of {
            Some(id) => Some(self.engine.root(id).await.map_err(call.refused())?),
            None => None,
        };
        let after = cursor(page.cursor.as_deref(), ConversationId::from_bytes).map_err(call.refused())?;
        let query = Query { heads_only, root, model, agent_id, metadata, created_after, created_before };
        let found = self.engine.list(query, after, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListConversationsResponse {
            conversations: found.rows.iter().map(row).collect(),
            next_page_token: found.next.map(|id| page.next_token(id.as_bytes())).unwrap_or_default(),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<proto::ListEntriesRequest>,
    ) -> Result<Response<proto::ListEntriesResponse>, Status> {
        let call = Call::of(&request);
        let asked = convert::list::entries(request.into_inner()).map_err(call.refused())?;
        let convert::list::ListEntries { conversation_id, kinds, newest_first, page } = asked;
        let passed = cursor(page.cursor.as_deref(), |bytes| bytes.try_into().ok().map(u64::from_be_bytes));
        let passed = passed.map_err(call.refused())?.unwrap_or(0);
        let query = EntryQuery { conversation_id, kinds, newest_first };
        let found = self.engine.entries(query, passed, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListEntriesResponse {
            entries: found.entries.iter().map(|entry| convert::entry::write(entry)).collect(),
            next_page_token: found.next.map(|at| page.next_token(&at.to_be_bytes())).unwrap_or_default(),
        }))
    }

    async fn list_versions(
        &self,
        request: Request<proto::ListVersionsRequest>,
    ) -> Result<Response<proto::ListVersionsResponse>, Status> {
        let call = Call::of(&request);
        let asked = convert::list::versions(request.into_inner()).map_err(call.refused())?;
        let convert::list::ListVersions { conversation_id, page } = asked;
        let after = cursor(page.cursor.as_deref(), |bytes| bytes.try_into().ok().map(TreeCursor::from_bytes))
            .map_err(call.refused())?;
        let root = self.engine.root(conversation_id).await.map_err(call.refused())?;
        let found = self.engine.tree(root, after, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListVersionsResponse {
            versions: found.rows.iter().map(row).collect(),
            next_page_token: found.next.map(|at| page.next_token(&at.to_bytes())).unwrap_or_default(),
        }))
    }

    async fn delete_conversation(
        &self,
        request: Request<proto::DeleteConversationRequest>,
    ) -> Result<Response<()>, Status> {
        let call = Call::of(&request);
        let asked = convert::lookup::delete_conversation(request.get_ref()).map_err(call.refused())?;
        self.engine.delete(asked.conversation_id, asked.force).await.map_err(call.refused())?;
        Ok(Response::new(()))
    }

    async fn set_expiration(
        &self,
        request: Request<proto::SetExpirationRequest>,
    ) -> Result<Response<proto::Conversation>, Status> {
        let call = Call::of(&request);
        let (id, expiry) = convert::lookup::set_expiration(request.into_inner()).map_err(call.refused())?;
        let first = self.engine.set_expiry(id, expiry).await.map_err(call.refused())?;
        Ok(Response::new(row(&first)))
    }

    async fn export_conversations(
        &self,
        request: Request<proto::ExportConversationsRequest>,
    ) -> Result<Response<transfer::ExportStream>, Status> {
        let call = Call::of(&request);
        let tree = convert::lookup::export_conversations(request.get_ref()).map_err(call.refused())?;
        let stream = transfer::export(self.engine.clone(), tree, call.id.clone()).await.map_err(call.refused())?;
        Ok(Response::new(stream))
    }

    async fn import_conversations(
        &self,
        request: Request<Streaming<proto::ImportConversationsRequest>>,
    ) -> Result<Response<proto::ImportConversationsResponse>, Status> {
        let call = Call::of(&request);
        let imported = transfer::import(&self.engine, request.into_inner()).await;
        imported.map(Response::new).map_err(|stopped| stopped.into_status(&call.id))
    }
}

/// The cursor of a page token. Tokens are bound to their query, so one that can't be read was made up.
pub(super) fn cursor<T>(bytes: Option<&[u8]>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Failure> {
    let Some(bytes) = bytes else { return Ok(None) };
    let made_up = || Failure::invalid_field("page_token", "must be a token of this query, or left out to begin again");
    read(bytes).map(Some).ok_or_else(made_up)
}
