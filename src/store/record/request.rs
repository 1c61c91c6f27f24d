//! Requests of turns on disk: all that was asked, so that a turn can be run by whoever finds it.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

use super::{
    Damaged,
    entry::DraftRecord,
    entry_id, entry_id_bytes, id, id_bytes, required,
    settings::{ArgsRecord, PinRecord, args, args_record, pin, pin_record},
    spend::BudgetRecord,
    tool::{ToolRecord, tool, tool_record},
};
use crate::domain::{
    Budget, ConversationId, EntryDraft, Time,
    request::{
        Background, Base, Concurrency, Expiry, Fallback, Forwarding, Overrides, RequestKey, ToolConfirmation, ToolUse,
        Truncation, TurnRequest,
    },
};

/// A request.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TurnRequestRecord {
    #[prost(message, optional, tag = "1")]
    base: Option<BaseRecord>,
    #[prost(message, repeated, tag = "2")]
    inputs: Vec<DraftRecord>,
    #[prost(message, optional, tag = "3")]
    overrides: Option<OverridesRecord>,
    #[prost(bool, tag = "4")]
    store: bool,
    #[prost(bool, tag = "5")]
    skip_completion: bool,
    #[prost(message, optional, tag = "6")]
    key: Option<KeyRecord>,
    #[prost(message, optional, tag = "7")]
    forwarding: Option<ForwardingRecord>,
    #[prost(message, optional, tag = "8")]
    tool_use: Option<ToolUseRecord>,
    /// As the domain numbers it.
    #[prost(uint32, tag = "9")]
    concurrency: u32,
    #[prost(message, optional, tag = "10")]
    background: Option<BackgroundRecord>,
    #[prost(string, optional, tag = "11")]
    callback_url: Option<String>,
    #[prost(oneof = "ExpiryRecord", tags = "12, 13")]
    expiry: Option<ExpiryRecord>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
enum ExpiryRecord {
    #[prost(sint64, tag = "12")]
    AtUs(i64),
    #[prost(uint64, tag = "13")]
    AfterMs(u64),
}

/// Start has no field of it.
#[derive(Clone, PartialEq, Message)]
struct BaseRecord {
    /// Append, Restart.
    #[prost(bytes = "vec", optional, tag = "1")]
    conversation: Option<Vec<u8>>,
    #[prost(bool, tag = "2")]
    require_head: bool,
    /// Restart.
    #[prost(bytes = "vec", optional, tag = "3")]
    from_entry: Option<Vec<u8>>,
    #[prost(bool, tag = "4")]
    keep_entry: bool,
}

#[derive(Clone, PartialEq, Message)]
struct OverridesRecord {
    #[prost(string, optional, tag = "1")]
    model: Option<String>,
    #[prost(string, optional, tag = "2")]
    agent_id: Option<String>,
    #[prost(message, optional, tag = "3")]
    agent_pin: Option<PinRecord>,
    #[prost(string, optional, tag = "4")]
    instructions: Option<String>,
    #[prost(message, optional, tag = "5")]
    tools: Option<ToolsRecord>,
    #[prost(message, optional, tag = "6")]
    completion_args: Option<ArgsRecord>,
    #[prost(message, optional, tag = "7")]
    metadata: Option<MetadataRecord>,
    #[prost(message, optional, tag = "8")]
    tree_budget: Option<BudgetRecord>,
}

/// Tools that may be none, which is not the same as not given.
#[derive(Clone, PartialEq, Message)]
struct ToolsRecord {
    #[prost(message, repeated, tag = "1")]
    tools: Vec<ToolRecord>,
}

/// The same of metadata.
#[derive(Clone, PartialEq, Message)]
struct MetadataRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pairs: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ForwardingRecord {
    /// 0 as configured, 1 never, 2 these.
    #[prost(uint32, tag = "1")]
    fallback: u32,
    #[prost(string, repeated, tag = "2")]
    fallback_models: Vec<String>,
    #[prost(bool, tag = "3")]
    continue_on_other_model: bool,
    /// 0 off, 1 drops the oldest.
    #[prost(uint32, tag = "4")]
    truncation: u32,
    #[prost(message, optional, tag = "5")]
    budget: Option<BudgetRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ToolUseRecord {
    #[prost(bool, tag = "1")]
    handoff_to_caller: bool,
    #[prost(uint32, optional, tag = "2")]
    max_rounds: Option<u32>,
    #[prost(message, repeated, tag = "3")]
    confirmations: Vec<ConfirmationRecord>,
    #[prost(bool, tag = "4")]
    skip_pending: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ConfirmationRecord {
    #[prost(string, tag = "1")]
    tool_call_id: String,
    #[prost(bool, tag = "2")]
    allowed: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, optional, tag = "4")]
    arguments: Option<String>,
    #[prost(string, tag = "5")]
    decided_by: String,
}

#[derive(Clone, PartialEq, Message)]
struct BackgroundRecord {
    #[prost(sint64, optional, tag = "1")]
    not_before_us: Option<i64>,
    #[prost(sint32, tag = "2")]
    priority: i32,
    #[prost(uint32, optional, tag = "3")]
    max_attempts: Option<u32>,
    #[prost(string, tag = "4")]
    fairness_key: String,
}

impl From<&TurnRequest> for TurnRequestRecord {
    fn from(request: &TurnRequest) -> TurnRequestRecord {
        let TurnRequest {
            base,
            inputs,
            overrides,
            store,
            skip_completion,
            request,
            forwarding,
            tool_use,
            concurrency,
            background,
            callback_url,
            expiry,
        } = request;
        TurnRequestRecord {
            base: Some(base.into()),
            inputs: inputs.iter().map(DraftRecord::from).collect(),
            overrides: Some(overrides.into()),
            store: *store,
            skip_completion: *skip_completion,
            key: request
                .as_ref()
                .map(|RequestKey { id, fingerprint }| KeyRecord { id: id.clone(), fingerprint: fingerprint.to_vec() }),
            forwarding: Some(forwarding.into()),
            tool_use: Some(tool_use.into()),
            concurrency: *concurrency as u32,
            background: background.as_ref().map(BackgroundRecord::from),
            callback_url: callback_url.clone(),
            expiry: expiry.map(|expiry| match expiry {
                Expiry::At(time) => ExpiryRecord::AtUs(time.unix_us),
                Expiry::After { ms } => ExpiryRecord::AfterMs(ms),
            }),
        }
    }
}

impl TryFrom<TurnRequestRecord> for TurnRequest {
    type Error = Damaged;

    fn try_from(record: TurnRequestRecord) -> Result<TurnRequest, Damaged> {
        Ok(TurnRequest {
            base: required(record.base)?.try_into()?,
            inputs: record.inputs.into_iter().map(EntryDraft::try_from).collect::<Result<_, _>>()?,
            overrides: required(record.overrides)?.try_into()?,
            store: record.store,
            skip_completion: record.skip_completion,
            request: record.key.map(RequestKey::try_from).transpose()?,
            forwarding: required(record.forwarding)?.try_into()?,
            tool_use: required(record.tool_use)?.into(),
            concurrency: concurrency(record.concurrency)?,
            background: record.background.map(Background::from),
            callback_url: record.callback_url,
            expiry: record.expiry.map(|expiry| match expiry {
                ExpiryRecord::AtUs(unix_us) => Expiry::At(Time { unix_us }),
                ExpiryRecord::AfterMs(ms) => Expiry::After { ms },
            }),
        })
    }
}

/// What becomes of the turn in flight, by its number.
pub(super) fn concurrency(number: u32) -> Result<Concurrency, Damaged> {
    let found = Concurrency::ALL.into_iter().find(|concurrency| *concurrency as u32 == number);
    found.ok_or(Damaged("a way of concurrency is unknown"))
}

impl From<&Base> for BaseRecord {
    fn from(base: &Base) -> BaseRecord {
        match base {
            Base::Start => BaseRecord::default(),
            Base::Append { conversation_id, require_head } => BaseRecord {
                conversation: Some(id_bytes(conversation_id.0)),
                require_head: *require_head,
                ..BaseRecord::default()
            },
            Base::Restart { conversation_id, from_entry_id, keep_entry } => BaseRecord {
                conversation: Some(id_bytes(conversation_id.0)),
                from_entry: Some(entry_id_bytes(*from_entry_id).to_vec()),
                keep_entry: *keep_entry,
                ..BaseRecord::default()
            },
        }
    }
}

impl TryFrom<BaseRecord> for Base {
    type Error = Damaged;

    fn try_from(record: BaseRecord) -> Result<Base, Damaged> {
        let BaseRecord { conversation, require_head, from_entry, keep_entry } = record;
        let Some(conversation) = conversation else { return Ok(Base::Start) };
        let conversation_id = ConversationId(id(&conversation)?);
        Ok(match from_entry {
            None => Base::Append { conversation_id, require_head },
            Some(entry) => Base::Restart { conversation_id, from_entry_id: entry_id(&entry)?, keep_entry },
        })
    }
}

impl From<&Overrides> for OverridesRecord {
    fn from(overrides: &Overrides) -> OverridesRecord {
        let Overrides { model, agent_id, agent_pin, instructions, tools, completion_args, metadata, tree_budget } =
            overrides;
        let tools_record = |tools: &Vec<_>| ToolsRecord { tools: tools.iter().map(tool_record).collect() };
        OverridesRecord {
            model: model.clone(),
            agent_id: agent_id.clone(),
            agent_pin: agent_pin.as_ref().map(pin_record),
            instructions: instructions.clone(),
            tools: tools.as_ref().map(tools_record),
            completion_args: completion_args.as_ref().map(args_record),
            metadata: metadata.as_ref().map(|pairs| MetadataRecord { pairs: pairs.clone() }),
            tree_budget: tree_budget.as_ref().map(BudgetRecord::from),
        }
    }
}

impl TryFrom<OverridesRecord> for Overrides {
    type Error = Damaged;

    fn try_from(record: OverridesRecord) -> Result<Overrides, Damaged> {
        let tools = |record: ToolsRecord| record.tools.into_iter().map(tool).collect::<Result<_, _>>();
        Ok(Overrides {
            model: record.model,
            agent_id: record.agent_id,
            agent_pin: record.agent_pin.map(pin),
            instructions: record.instructions,
            tools: record.tools.map(tools).transpose()?,
            completion_args: record.completion_args.map(args).transpose()?,
            metadata: record.metadata.map(|metadata| metadata.pairs),
            tree_budget: record.tree_budget.map(Budget::from),
        })
    }
}

impl TryFrom<KeyRecord> for RequestKey {
    type Error = Damaged;

    fn try_from(KeyRecord { id, fingerprint }: KeyRecord) -> Result<RequestKey, Damaged> {
        let fingerprint = fingerprint.try_into().map_err(|_| Damaged("a fingerprint has not 16 bytes"))?;
        Ok(RequestKey { id, fingerprint })
    }
}

impl From<&Forwarding> for ForwardingRecord {
    fn from(forwarding: &Forwarding) -> ForwardingRecord {
        let Forwarding { fallback, continue_on_other_model, truncation, budget } = forwarding;
        let (fallback, fallback_models) = match fallback {
            Fallback::Configured => (0, Vec::new()),
            Fallback::Never => (1, Vec::new()),
            Fallback::Models(models) => (2, models.clone()),
        };
        ForwardingRecord {
            fallback,
            fallback_models,
            continue_on_other_model: *continue_on_other_model,
            truncation: match truncation {
                Truncation::Off => 0,
                Truncation::DropOldest => 1,
            },
            budget: budget.as_ref().map(BudgetRecord::from),
        }
    }
}

impl TryFrom<ForwardingRecord> for Forwarding {
    type Error = Damaged;

    fn try_from(record: ForwardingRecord) -> Result<Forwarding, Damaged> {
        let ForwardingRecord { fallback, fallback_models, continue_on_other_model, truncation, budget } = record;
        Ok(Forwarding {
            fallback: match fallback {
                0 => Fallback::Configured,
                1 => Fallback::Never,
                2 => Fallback::Models(fallback_models),
                _ => return Err(Damaged("a fallback is unknown")),
            },
            continue_on_other_model,
            truncation: match truncation {
                0 => Truncation::Off,
                1 => Truncation::DropOldest,
                _ => return Err(Damaged("a truncation is unknown")),
            },
            budget: budget.map(Budget::from),
        })
    }
}

impl From<&ToolUse> for ToolUseRecord {
    fn from(tool_use: &ToolUse) -> ToolUseRecord {
        let ToolUse { handoff_to_caller, max_rounds, confirmations, skip_pending } = tool_use;
        ToolUseRecord {
            handoff_to_caller: *handoff_to_caller,
            max_rounds: *max_rounds,
            confirmations: confirmations.iter().map(ConfirmationRecord::from).collect(),
            skip_pending: *skip_pending,
        }
    }
}

impl From<ToolUseRecord> for ToolUse {
    fn from(record: ToolUseRecord) -> ToolUse {
        let ToolUseRecord { handoff_to_caller, max_rounds, confirmations, skip_pending } = record;
        let confirmations = confirmations.into_iter().map(ToolConfirmation::from).collect();
        ToolUse { handoff_to_caller, max_rounds, confirmations, skip_pending }
    }
}

impl From<&ToolConfirmation> for ConfirmationRecord {
    fn from(confirmation: &ToolConfirmation) -> ConfirmationRecord {
        let ToolConfirmation { tool_call_id, allowed, reason, arguments, decided_by } = confirmation.clone();
        ConfirmationRecord { tool_call_id, allowed, reason, arguments, decided_by }
    }
}

impl From<ConfirmationRecord> for ToolConfirmation {
    fn from(record: ConfirmationRecord) -> ToolConfirmation {
        let ConfirmationRecord { tool_call_id, allowed, reason, arguments, decided_by } = record;
        ToolConfirmation { tool_call_id, allowed, reason, arguments, decided_by }
    }
}

impl From<&Background> for BackgroundRecord {
    fn from(background: &Background) -> BackgroundRecord {
        let Background { not_before, priority, max_attempts, waits: _, fairness_key } = background;
        BackgroundRecord {
            not_before_us: not_before.map(|time| time.unix_us),
            priority: *priority,
            max_attempts: *max_attempts,
            fairness_key: fairness_key.clone(),
        }
    }
}

impl From<BackgroundRecord> for Background {
    fn from(record: BackgroundRecord) -> Background {
        let BackgroundRecord { not_before_us, priority, max_attempts, fairness_key } = record;
        let not_before = not_before_us.map(|unix_us| Time { unix_us });
        Background { not_before, priority, max_attempts, waits: false, fairness_key }
    }
}
