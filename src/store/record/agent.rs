//! Agents on disk: what changes about one, and what its versions fix.

use std::collections::BTreeMap;

use prost::Message;

use super::{
    Damaged, decode, encode, required,
    settings::{ArgsRecord, args, args_record},
    tool::{ToolRecord, tool, tool_record},
};
use crate::domain::Time;
use crate::domain::agent::{AgentSource, AgentSpec};

/// What changes about an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Head {
    /// Of the current version, or of the last one if it is gone.
    pub(in crate::store) name: String,
    pub(in crate::store) current: u32,
    pub(in crate::store) count: u32,
    pub(in crate::store) aliases: BTreeMap<String, u32>,
    pub(in crate::store) source: AgentSource,
    pub(in crate::store) created_at: Time,
    pub(in crate::store) revision: u64,
    /// It is gone since then.
    pub(in crate::store) gone_at: Option<Time>,
}

/// What a version of an agent fixes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct Content {
    pub(in crate::store) spec: AgentSpec,
    pub(in crate::store) message: String,
    pub(in crate::store) created_at: Time,
    /// The request that made the agent, in its first version.
    pub(in crate::store) request_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct HeadRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    current: u32,
    #[prost(uint32, tag = "3")]
    count: u32,
    #[prost(btree_map = "string, uint32", tag = "4")]
    aliases: BTreeMap<String, u32>,
    /// 1 by a call, 2 in the configuration.
    #[prost(uint32, tag = "5")]
    source: u32,
    #[prost(sint64, tag = "6")]
    created_at_us: i64,
    #[prost(uint64, tag = "7")]
    revision: u64,
    #[prost(sint64, optional, tag = "8")]
    gone_at_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct ContentRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    model: String,
    #[prost(string, repeated, tag = "4")]
    fallback_models: Vec<String>,
    #[prost(string, tag = "5")]
    instructions: String,
    #[prost(message, repeated, tag = "6")]
    tools: Vec<ToolRecord>,
    #[prost(message, optional, tag = "7")]
    completion_args: Option<ArgsRecord>,
    #[prost(string, repeated, tag = "8")]
    handoffs: Vec<String>,
    #[prost(btree_map = "string, string", tag = "9")]
    metadata: BTreeMap<String, String>,
    #[prost(string, tag = "10")]
    message: String,
    #[prost(sint64, tag = "11")]
    created_at_us: i64,
    #[prost(string, optional, tag = "12")]
    request_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestRecord {
    #[prost(bytes = "vec", tag = "1")]
    agent: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

/// The row of what changes about an agent.
pub(in crate::store) fn encode_head(head: &Head) -> Vec<u8> {
    let Head { name, current, count, aliases, source, created_at, revision, gone_at } = head;
    encode(&HeadRecord {
        name: name.clone(),
        current: *current,
        count: *count,
        aliases: aliases.clone(),
        source: match source {
            AgentSource::Api => 1,
            AgentSource::Configuration => 2,
        },
        created_at_us: created_at.unix_us,
        revision: *revision,
        gone_at_us: gone_at.map(|time| time.unix_us),
    })
}

/// What changes about the agent of a row.
pub(in crate::store) fn decode_head(row: &[u8]) -> Result<Head, Damaged> {
    let HeadRecord { name, current, count, aliases, source, created_at_us, revision, gone_at_us } = decode(row)?;
    let source = match source {
        1 => AgentSource::Api,
        2 => AgentSource::Configuration,
        _ => return Err(Damaged("the source of an agent is unknown")),
    };
    let created_at = Time { unix_us: created_at_us };
    let gone_at = gone_at_us.map(|unix_us| Time { unix_us });
    Ok(Head { name, current, count, aliases, source, created_at, revision, gone_at })
}

/// The row of a version, not yet cut into pieces.
pub(in crate::store) fn encode_content(content: &Content) -> Vec<u8> {
    let Content { spec, message, created_at, request_id } = content;
    let AgentSpec {
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
    } = spec;
    encode(&ContentRecord {
        name: name.clone(),
        description: description.clone(),
        model: model.clone(),
        fallback_models: fallback_models.clone(),
        instructions: instructions.clone(),
        tools: tools.iter().map(tool_record).collect(),
        completion_args: Some(args_record(completion_args)),
        handoffs: handoffs.clone(),
        metadata: metadata.clone(),
        message: message.clone(),
        created_at_us: created_at.unix_us,
        request_id: request_id.clone(),
    })
}

/// The version of a row.
pub(in crate::store) fn decode_content(row: &[u8]) -> Result<Content, Damaged> {
    let record: ContentRecord = decode(row)?;
    let spec = AgentSpec {
        name: record.name,
        description: record.description,
        model: record.model,
        fallback_models: record.fallback_models,
        instructions: record.instructions,
        tools: record.tools.into_iter().map(tool).collect::<Result<_, _>>()?,
        completion_args: args(required(record.completion_args)?)?,
        handoffs: record.handoffs,
        metadata: record.metadata,
    };
    let created_at = Time { unix_us: record.created_at_us };
    Ok(Content { spec, message: record.message, created_at, request_id: record.request_id })
}

/// The row of a request that made an agent.
pub(in crate::store) fn encode_request(agent: uuid::Uuid, fingerprint: [u8; 16]) -> Vec<u8> {
    encode(&RequestRecord { agent: super::id_bytes(agent), fingerprint: fingerprint.to_vec() })
}

/// The agent that a request made, and the request's fingerprint.
pub(in crate::store) fn decode_request(row: &[u8]) -> Result<(uuid::Uuid, [u8; 16]), Damaged> {
    let RequestRecord { agent, fingerprint } = decode(row)?;
    let fingerprint = fingerprint.try_into().map_err(|_| Damaged("a fingerprint has not 16 bytes"))?;
    Ok((super::id(&agent)?, fingerprint))
}
