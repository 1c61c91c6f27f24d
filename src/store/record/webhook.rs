//! Endpoints and deliveries on disk.

use std::collections::BTreeMap;

use prost::Message;
use uuid::Uuid;

use super::{Damaged, decode, encode, id_bytes, optional_id, required, turn};
use crate::domain::{
    BatchId, ChangeKind, ConversationId, Time,
    change::{self, ChangeFilter},
    ids::WebhookId,
    webhook::{
        Callback, Delivery, DeliveryId, DeliveryState, Payload, Progress, Webhook, WebhookFilter, WebhookSecret,
        WebhookSpec, WebhookState,
    },
};

#[derive(Clone, PartialEq, Message)]
struct SpecRecord {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(message, optional, tag = "3")]
    filter: Option<FilterRecord>,
    #[prost(uint32, tag = "4")]
    payload: u32,
    #[prost(string, repeated, tag = "5")]
    secrets: Vec<String>,
    #[prost(sint64, tag = "6")]
    created_at_us: i64,
}

#[derive(Clone, PartialEq, Message)]
struct FilterRecord {
    #[prost(bytes = "vec", optional, tag = "1")]
    root: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    model: Option<String>,
    #[prost(string, optional, tag = "3")]
    agent_id: Option<String>,
    #[prost(btree_map = "string, string", tag = "4")]
    metadata: BTreeMap<String, String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    batch: Option<Vec<u8>>,
    #[prost(uint32, repeated, tag = "6")]
    kinds: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    states: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct ProgressRecord {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(string, tag = "2")]
    disabled_reason: String,
    #[prost(sint64, tag = "3")]
    enabled_at_us: i64,
    #[prost(uint64, tag = "4")]
    delivered: u64,
    #[prost(uint32, tag = "5")]
    round: u32,
    #[prost(uint64, repeated, tag = "6")]
    again: Vec<u64>,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(string, tag = "8")]
    last_error: String,
    #[prost(sint64, optional, tag = "9")]
    next_attempt_at_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct DeliveryRecord {
    #[prost(bytes = "vec", tag = "1")]
    uuid: Vec<u8>,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(uint64, tag = "3")]
    place: u64,
    #[prost(string, tag = "4")]
    type_name: String,
    #[prost(uint32, tag = "5")]
    state: u32,
    #[prost(uint32, tag = "6")]
    round: u32,
    #[prost(uint32, tag = "7")]
    attempts: u32,
    #[prost(uint32, optional, tag = "8")]
    http_status: Option<u32>,
    #[prost(string, tag = "9")]
    error: String,
    #[prost(uint64, tag = "10")]
    duration_ms: u64,
    #[prost(sint64, tag = "11")]
    attempted_at_us: i64,
    #[prost(sint64, optional, tag = "12")]
    failing_since_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct CallbackRecord {
    #[prost(message, optional, tag = "1")]
    delivery: Option<DeliveryRecord>,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(string, tag = "3")]
    body: String,
    #[prost(sint64, tag = "4")]
    next_attempt_at_us: i64,
    #[prost(sint64, tag = "5")]
    told_at_us: i64,
}

fn time(unix_us: i64) -> Time {
    Time { unix_us }
}

/// The row of what its maker says of an endpoint.
pub(in crate::store) fn encode_spec(webhook: &Webhook) -> Vec<u8> {
    let Webhook { id: _, created_at, spec, progress: _ } = webhook;
    let WebhookSpec { url, description, filter, payload, secrets } = spec;
    encode(&SpecRecord {
        url: url.clone(),
        description: description.clone(),
        filter: filter.as_ref().map(filter_record),
        payload: *payload as u32,
        secrets: secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
        created_at_us: created_at.unix_us,
    })
}

/// The endpoint of a row, with the progress of another one.
pub(in crate::store) fn decode_webhook(id: Uuid, spec: &[u8], progress: Progress) -> Result<Webhook, Damaged> {
    let SpecRecord { url, description, filter, payload, secrets, created_at_us } = decode(spec)?;
    let payload = match payload {
        1 => Payload::Thin,
        2 => Payload::Full,
        _ => return Err(Damaged("the payload of a webhook is unknown")),
    };
    let secrets = secrets.into_iter().map(WebhookSecret::stored).collect();
    let filter = filter.map(self::filter).transpose()?;
    let spec = WebhookSpec { url, description, filter, payload, secrets };
    Ok(Webhook { id: WebhookId(id), created_at: time(created_at_us), spec, progress })
}

fn filter_record(filter: &WebhookFilter) -> FilterRecord {
    let WebhookFilter { changes, metadata } = filter;
    let ChangeFilter { root_id, model, agent_id, labels: _, batch_id, kinds, states } = changes;
    FilterRecord {
        root: root_id.map(|id| id_bytes(id.0)),
        model: model.clone(),
        agent_id: agent_id.clone(),
        metadata: metadata.clone(),
        batch: batch_id.map(|id| id_bytes(id.0)),
        kinds: kinds.iter().map(|kind| *kind as u32).collect(),
        states: states.iter().map(|state| turn::state_number(*state)).collect(),
    }
}

fn filter(record: FilterRecord) -> Result<WebhookFilter, Damaged> {
    let FilterRecord { root, model, agent_id, metadata, batch, kinds, states } = record;
    let kind = |number: u32| {
        let kind = u8::try_from(number).ok().and_then(ChangeKind::from_number);
        kind.ok_or(Damaged("a webhook wants changes of an unknown kind"))
    };
    let changes = ChangeFilter {
        root_id: optional_id(root)?.map(ConversationId),
        model,
        agent_id,
        labels: change::labels(&metadata),
        batch_id: optional_id(batch)?.map(BatchId),
        kinds: kinds.into_iter().map(kind).collect::<Result<_, _>>()?,
        states: states.into_iter().map(turn::state).collect::<Result<_, _>>()?,
    };
    Ok(WebhookFilter { changes, metadata })
}

/// The row of how far an endpoint has come.
pub(in crate::store) fn encode_progress(progress: &Progress) -> Vec<u8> {
    let Progress { state, disabled_reason, enabled_at, delivered, round, again, failures, last_error, next_attempt_at } =
        progress;
    encode(&ProgressRecord {
        state: *state as u32,
        disabled_reason: disabled_reason.clone(),
        enabled_at_us: enabled_at.unix_us,
        delivered: *delivered,
        round: *round,
        again: again.clone(),
        failures: *failures,
        last_error: last_error.clone(),
        next_attempt_at_us: next_attempt_at.map(|time| time.unix_us),
    })
}

/// How far the endpoint of a row has come.
pub(in crate::store) fn decode_progress(row: &[u8]) -> Result<Progress, Damaged> {
    let record: ProgressRecord = decode(row)?;
    let state = match record.state {
        1 => WebhookState::Enabled,
        2 => WebhookState::Disabled,
        _ => return Err(Damaged("the state of a webhook is unknown")),
    };
    Ok(Progress {
        state,
        disabled_reason: record.disabled_reason,
        enabled_at: time(record.enabled_at_us),
        delivered: record.delivered,
        round: record.round,
        again: record.again,
        failures: record.failures,
        last_error: record.last_error,
        next_attempt_at: record.next_attempt_at_us.map(time),
    })
}

/// The row of a delivery.
pub(in crate::store) fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    encode(&delivery_record(delivery))
}

/// The delivery of a row.
pub(in crate::store) fn decode_delivery(row: &[u8]) -> Result<Delivery, Damaged> {
    delivery(decode(row)?)
}

fn delivery_record(delivery: &Delivery) -> DeliveryRecord {
    let Delivery {
        id,
        place,
        type_name,
        state,
        round,
        attempts,
        http_status,
        error,
        duration_ms,
        attempted_at,
        failing_since,
    } = delivery;
    DeliveryRecord {
        uuid: id_bytes(id.uuid),
        revision: id.revision,
        place: *place,
        type_name: type_name.clone(),
        state: *state as u32,
        round: *round,
        attempts: *attempts,
        http_status: http_status.map(u32::from),
        error: error.clone(),
        duration_ms: *duration_ms,
        attempted_at_us: attempted_at.unix_us,
        failing_since_us: failing_since.map(|time| time.unix_us),
    }
}

fn delivery(record: DeliveryRecord) -> Result<Delivery, Damaged> {
    let state = match record.state {
        1 => DeliveryState::Pending,
        2 => DeliveryState::Delivered,
        3 => DeliveryState::Failed,
        _ => return Err(Damaged("the state of a delivery is unknown")),
    };
    let status = record.http_status.map(u16::try_from).transpose();
    Ok(Delivery {
        id: DeliveryId { uuid: super::id(&record.uuid)?, revision: record.revision },
        place: record.place,
        type_name: record.type_name,
        state,
        round: record.round,
        attempts: record.attempts,
        http_status: status.map_err(|_| Damaged("the status of a delivery is too large"))?,
        error: record.error,
        duration_ms: record.duration_ms,
        attempted_at: time(record.attempted_at_us),
        failing_since: record.failing_since_us.map(time),
    })
}

/// The row of a callback.
pub(in crate::store) fn encode_callback(callback: &Callback) -> Vec<u8> {
    let Callback { delivery, url, body, told_at, next_attempt_at } = callback;
    encode(&CallbackRecord {
        delivery: Some(delivery_record(delivery)),
        url: url.clone(),
        body: body.clone(),
        next_attempt_at_us: next_attempt_at.unix_us,
        told_at_us: told_at.unix_us,
    })
}

/// The callback of a row.
pub(in crate::store) fn decode_callback(row: &[u8]) -> Result<Callback, Damaged> {
    let CallbackRecord { delivery, url, body, next_attempt_at_us, told_at_us } = decode(row)?;
    let delivery = self::delivery(required(delivery)?)?;
    Ok(Callback { delivery, url, body, told_at: time(told_at_us), next_attempt_at: time(next_attempt_at_us) })
}
