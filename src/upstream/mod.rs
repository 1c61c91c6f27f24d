//! Providers: a history and settings in, pieces of the model's answer out.
//!
//! [`Provider`] is the door. Behind it `client` speaks HTTP and `sse` splits its streams; `chat` knows what the JSON of chat
//! completions means, and `conversations` that of Mistral's own conversations.
//!
//! Keys, prompts and answers never get into failures or logs, even where a provider quotes them (`secrets`); of the public types only [`Piece`] shows its content in `Debug`.
//! Nothing here retries: a [`Fault`] says whether and when that is worth while.

mod answer;
mod bearer;
mod card;
mod catalogue;
mod chat;
mod client;
mod completion;
mod conversations;
mod endpoint;
pub mod estimate;
mod fault;
mod form;
#[cfg(test)]
mod golden;
pub mod guard;
mod key;
mod key_command;
mod models;
mod origin;
mod pages;
mod prepare;
mod quota;
mod refusal;
mod registry;
mod retry_after;
mod secrets;
mod sse;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

pub use self::{
    bearer::Bearer,
    card::ModelCard,
    catalogue::{Card, Catalogue, Override, Price},
    chat::{Dialect, MaxTokensField},
    client::{OptionsError, Provider},
    completion::Completion,
    fault::{Fault, FaultClass, Reached},
    form::{Form, HostedAgent},
    key::{KeyHeader, KeySource, Secret},
    models::{Check, KeyState},
    quota::Quota,
    registry::Providers,
};
use crate::domain::{Chunk, Entry, Failure, FinishReason, Omission, Settings, Usage, entry::Thinking};

/// Where a provider is, and what is allowed to it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name in failures and in the thinking that it signs, such as "mistral".
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// The field that bounds an answer, if not the dialect's own.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Such as `https://api.mistral.ai`, with or without `/v1`, or with another path that ends in a version. A path that ends in
    /// `/chat/completions` is taken as it is and may have a query. http or https, without user name.
    pub base_url: String,
    /// Its key.
    pub key: KeySource,
    /// Where the operator puts the key, for what he is told if it is missing or refused: `MISTRAL_API_KEY or …`.
    pub key_place: String,
    /// How the key is sent.
    pub key_header: KeyHeader,
    /// More headers of every request, by name. The values are treated as secrets.
    pub headers: Vec<(String, Secret)>,
    /// What connectors are authorized with, by the name that tools have for it.
    pub connector_secrets: BTreeMap<String, Secret>,
    /// For the TCP and TLS handshakes of a new connection; after it SERVICE_UNAVAILABLE, nothing was spent.
    pub connect_timeout: Duration,
    /// From the call to the first byte of a streamed answer's body; after it TIMEOUT.
    pub first_byte_timeout: Duration,
    /// The same for an answer that is not streamed: it is written before any of it is sent. Mistral's SDK gives it 300 s.
    pub whole_answer_timeout: Duration,
    /// For each silence after that, within the answer; after it TIMEOUT.
    pub idle_timeout: Duration,
    /// For the text, thinking and arguments of an answer together; beyond it UPSTREAM_PROTOCOL_ERROR.
    pub max_output_bytes: usize,
}

/// The messages of a history as one provider takes them, ready to be sent. Cheap to clone; states of one history share what they
/// have in common.
#[derive(Clone)]
pub struct Transcript {
    provider: Arc<str>,
    dialect: Dialect,
    form: Form,
    messages: chat::Messages,
}

impl Transcript {
    /// About how much memory it holds: its encoded length.
    pub fn size_bytes(&self) -> usize {
        self.messages.size_bytes(self.target())
    }

    /// What the messages do not hold of the history, one a kind: other providers' thinking, and references.
    pub fn omissions(&self) -> &[Omission] {
        self.messages.omissions()
    }

    /// Whether this endpoint of the provider can be sent it.
    pub fn is_for(&self, provider: &Provider, form: Form) -> bool {
        self.is_of(provider) && self.form == form
    }

    fn is_of(&self, provider: &Provider) -> bool {
        *self.provider == *provider.name() && self.dialect == provider.dialect()
    }

    fn empty(provider: Arc<str>, dialect: Dialect, form: Form) -> Transcript {
        Transcript { provider, dialect, form, messages: chat::Messages::default() }
    }

    fn extend(&self, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        let messages = self.messages.extend(entries, self.target())?;
        Ok(Transcript { provider: self.provider.clone(), dialect: self.dialect, form: self.form, messages })
    }

    fn target(&self) -> chat::Target<'_> {
        chat::Target { provider: &self.provider, dialect: self.dialect, form: self.form }
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").field("provider", &self.provider).field("size_bytes", &self.size_bytes()).finish()
    }
}

/// One call of the model.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Instructions, tools and arguments. Its model is not read: it may name a provider too.
    pub settings: &'a Settings,
    /// The model, as the provider names it.
    pub model: &'a str,
    /// The history, encoded for this provider, and for the endpoint that the tools and the agent need ([`Form::of`]).
    pub transcript: &'a Transcript,
    /// Pieces as they are made; otherwise all at the end.
    pub stream: bool,
    /// The history ends in an assistant message that the model continues. The answer holds only what it adds. Without effect
    /// where there is nothing to continue.
    pub continue_last: bool,
    /// The caller's own key, in place of the configured one.
    pub key: Option<&'a Secret>,
    /// Replaces the settings' `max_tokens`: what a budget has left may be less. An agent of Mistral's can't be told.
    pub max_tokens: Option<u32>,
    /// An agent of Mistral's leads: the model is its id.
    pub hosted: Option<HostedAgent<'a>>,
}

/// A piece of the model's answer, in the model's order.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// More of the text. Never empty.
    Text(String),
    /// More of the thinking, the provider's name filled in. May only sign or end what came before.
    Thinking(Thinking),
    /// Some other chunk, whole.
    Chunk(Chunk),
    /// More of a function call.
    Call {
        /// Which one: 0, 1, 2 … in the order in which they began.
        index: u32,
        /// The function, with the first piece of each call and only there.
        name: Option<String>,
        /// More of the JSON text.
        arguments: String,
    },
    /// Another message begins: the text, thinking and chunks that follow are not the last message's. Not before the first one.
    Message,
    /// The provider runs a tool.
    ToolStarted {
        /// Which run: 0, 1, 2 … in the order in which they began.
        index: u32,
        /// The tool.
        name: String,
        /// The JSON text, or the beginning of it.
        arguments: String,
    },
    /// More of a run's arguments. Never empty.
    ToolArguments {
        /// Which run.
        index: u32,
        /// More of the JSON text.
        arguments: String,
    },
    /// A run has ended.
    ToolDone {
        /// Which run.
        index: u32,
        /// What the provider says of it, as JSON text; empty: nothing.
        info: String,
    },
    /// An agent of the provider hands over to another.
    HandoffStarted {
        /// Which handoff: 0, 1, 2 … in the order in which they began.
        index: u32,
        /// The agent that hands over; empty if the provider does not say.
        previous_id: String,
        /// Its name.
        previous_name: String,
    },
    /// The other agent takes over.
    HandoffDone {
        /// Which handoff.
        index: u32,
        /// The agent that takes over.
        next_id: String,
        /// Its name.
        next_name: String,
    },
    /// The model has stopped. Once in each answer that doesn't fail; no content comes after it.
    Finish(FinishReason),
    /// What was used so far, if the provider says. Most say it after `Finish`, some with every piece; the last one is right.
    Usage(Usage),
}
