//! What the product is about, and nothing else: ids, entries, settings, turns, events, failures.
//!
//! Pure values and functions. No tonic, prost, sled or reqwest, no clock, no I/O: ids and times come in from outside.

pub mod agent;
pub mod batch;
pub mod change;
pub mod entry;
pub mod event;
pub mod failure;
pub mod fold;
pub mod ids;
pub mod job;
pub mod money;
pub mod omission;
pub mod request;
pub mod sequence;
pub mod settings;
pub mod spend;
pub mod tool;
pub mod turn;
pub mod version;
pub mod webhook;

pub use agent::{Agent, AgentId, AgentSpec};
pub use batch::{Batch, BatchOptions, BatchState, BatchTally, ItemResult};
pub use change::{Change, ChangeKind};
pub use entry::{Body, Chunk, Entry, EntryDraft};
pub use event::{Event, EventKind};
pub use failure::{Failure, Reason, Violation};
pub use ids::{BatchId, ConversationId, EntryId, Time, TurnId, WebhookId};
pub use job::{Job, JobState};
pub use money::Money;
pub use omission::{Omission, OmissionKind};
pub use settings::Settings;
pub use spend::{Budget, ModelUsage, Spend};
pub use tool::{Tool, ToolOutcome, ToolSpec};
pub use turn::{FinishReason, Turn, TurnState, Usage};
pub use version::Version;
pub use webhook::{Delivery, DeliveryId, Webhook};
