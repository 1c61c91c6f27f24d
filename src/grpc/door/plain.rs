//! What plain HTTP can ask for: `GET`, and nothing that changes anything.

use std::{fmt, time::Duration};

use http::{HeaderMap, Method, Request, Response};
use prost::Message;
use tonic::{Code, Status, body::Body, metadata::MetadataMap};
use url::form_urlencoded;

use super::{answer, events, page, watch};
use crate::{
    domain::Failure,
    engine::Engine,
    grpc::{
        layers::status,
        service::{Call, Service},
        watch::Watch,
    },
    proto::{conversation_service_server::ConversationService, json::from_query},
};

/// What is there for plain HTTP.
#[derive(Debug, Clone, Default)]
pub(super) struct Plain {
    pub(super) page: bool,
    /// The page can do nothing without them.
    pub(super) readers: Option<Readers>,
}

/// Where answers come from.
#[derive(Clone)]
pub(in crate::grpc) struct Readers {
    pub(in crate::grpc) engine: Engine,
    pub(in crate::grpc) service: Service,
    pub(in crate::grpc) watch: Watch,
    /// Streams say something after so much silence.
    pub(in crate::grpc) heartbeat: Duration,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("heartbeat", &self.heartbeat).finish_non_exhaustive()
    }
}

impl Plain {
    /// As the layers know answers: with a gRPC status.
    pub(super) async fn answer(self, request: Request<Body>) -> Response<Body> {
        let asked = Asked::of(request);
        self.find(&asked).await.unwrap_or_else(Status::into_http)
    }

    async fn find(&self, asked: &Asked) -> Result<Response<Body>, Status> {
        if asked.method == Method::GET {
            if self.page
                && let Some(found) = page::file(&asked.path)
            {
                return Ok(found);
            }
            if let Some(readers) = &self.readers
                && let Some(path) = asked.path.strip_prefix("/v1/")
            {
                return readers.find(asked, path).await;
            }
        }
        Err(asked.nothing_here())
    }
}

impl Readers {
    /// The answers to a path after `/v1/`.
    async fn find(&self, asked: &Asked, path: &str) -> Result<Response<Body>, Status> {
        let service = &self.service;
        let version = |id: &str| Some(("conversation_id", id.to_owned()));
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["turns", id, "events"] => events::of_turn(self, asked, id).await,
            ["watch"] => watch::changes(self, asked).await,
            ["turns"] => asked.read("ListTurns", None, |request| service.list_turns(request)).await,
            ["turns", id] => {
                let id = Some(("turn_id", (*id).to_owned()));
                asked.read_as("GetTurn", "Turn", id, |request| service.get_turn(request)).await
            }
            ["conversations"] => {
                asked.read("ListConversations", None, |request| service.list_conversations(request)).await
            }
            ["conversations", id] => {
                let read = |request| service.get_conversation(request);
                asked.read_as("GetConversation", "Conversation", version(id), read).await
            }
            ["conversations", id, "entries"] => {
                asked.read("ListEntries", version(id), |request| service.list_entries(request)).await
            }
            ["conversations", id, "versions"] => {
                asked.read("ListVersions", version(id), |request| service.list_versions(request)).await
            }
            _ => Err(asked.nothing_here()),
        }
    }
}

/// What plain HTTP asks.
pub(super) struct Asked {
    method: Method,
    path: String,
    query: String,
    pub(super) headers: HeaderMap,
    extensions: http::Extensions,
}

/// How much of a path is repeated to whoever made it up.
const PATH_LENGTH_MAX: usize = 200;

impl Asked {
    fn of(request: Request<Body>) -> Asked {
        let (parts, _) = request.into_parts();
        Asked {
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            method: parts.method,
            headers: parts.headers,
            extensions: parts.extensions,
        }
    }

    /// What the layers noted of the call.
    pub(super) fn call(&self) -> Call {
        Call::of(&self.request(()))
    }

    /// The parameters of these names, each at most once; any other is refused, since it was meant to do something.
    pub(super) fn parameters<const N: usize>(&self, names: [&str; N]) -> Result<[Option<String>; N], Failure> {
        let mut found = [const { None }; N];
        for (name, value) in self.pairs() {
            let at = names.iter().position(|known| *known == name);
            let Some(place) = at.map(|at| &mut found[at]) else {
                let text = format!("is no parameter here; these are: {}", names.join(", "));
                return Err(Failure::invalid_field(name, text));
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(Failure::invalid_field(name, "must be given once"));
            }
        }
        Ok(found)
    }

    pub(super) fn pairs(&self) -> form_urlencoded::Parse<'_> {
        form_urlencoded::parse(self.query.as_bytes())
    }

    /// The answer of a method that has messages of its own name.
    async fn read<Q, A, F>(
        &self,
        method: &str,
        of: Option<(&str, String)>,
        call: impl FnOnce(tonic::Request<Q>) -> F,
    ) -> Result<Response<Body>, Status>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        self.read_as(method, &format!("{method}Response"), of, call).await
    }

    /// The answer of a method to the request that path and query make up.
    async fn read_as<Q, A, F>(
        &self,
        method: &str,
        answer: &str,
        of: Option<(&str, String)>,
        call: impl FnOnce(tonic::Request<Q>) -> F,
    ) -> Result<Response<Body>, Status>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let query: Vec<_> = self.pairs().collect();
        let query = query.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let all = of.iter().map(|(name, value)| (*name, value.as_str())).chain(query);
        let request = from_query(&format!("causerie.v1.{method}Request"), all)
            .map_err(|(parameter, why)| self.call().refused()(Failure::invalid_field(parameter, why)))?;
        let answered = call(self.request(request)).await?.into_inner();
        answer::message(&format!("causerie.v1.{answer}"), &answered)
    }

    pub(super) fn request<M>(&self, message: M) -> tonic::Request<M> {
        tonic::Request::from_parts(MetadataMap::new(), self.extensions.clone(), message)
    }

    fn nothing_here(&self) -> Status {
        let path: String = self.path.chars().take(PATH_LENGTH_MAX).collect();
        status::with_reason(
            Code::Unimplemented,
            "UNKNOWN_METHOD",
            format!("there is nothing at {} {path}", self.method),
        )
    }
}
