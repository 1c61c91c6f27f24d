//! Webhooks as the wire has them, and what their deliveries tell.

use serde_json::Value;

use super::{change, number, time, turn};
use crate::{
    domain::{
        Change, Turn,
        change::ChangeFilter,
        webhook::{
            Delivery, DeliveryState, Payload, Progress, Webhook, WebhookFilter, WebhookSecret, WebhookSpec,
            WebhookState,
        },
    },
    proto::{self, WebhookPayload, json::to_json, webhook::State, webhook_delivery},
};

/// A webhook, without its secrets.
pub fn write(webhook: &Webhook) -> proto::Webhook {
    let Webhook { id, created_at, spec, progress } = webhook;
    let WebhookSpec { url, description, filter, payload, secrets } = spec;
    let Progress {
        state,
        disabled_reason,
        enabled_at: _,
        delivered,
        round: _,
        again: _,
        failures,
        last_error,
        next_attempt_at,
    } = progress;
    proto::Webhook {
        id: id.to_string(),
        url: url.clone(),
        description: description.clone(),
        filter: filter.as_ref().map(write_filter),
        payload: write_payload(*payload).into(),
        secrets: Vec::new(),
        state: write_state(*state).into(),
        disabled_reason: disabled_reason.clone(),
        delivered_revision: number::write(*delivered),
        failure_count: number::write_small(*failures),
        last_error: last_error.clone(),
        next_attempt_at: next_attempt_at.map(time::write),
        created_at: Some(time::write(*created_at)),
        secret_count: i32::try_from(secrets.len()).unwrap_or(i32::MAX),
    }
}

/// The same with its secrets: for the call that made one up.
pub fn write_with_secrets(webhook: &Webhook) -> proto::Webhook {
    let secrets = webhook.spec.secrets.iter().map(WebhookSecret::expose).map(str::to_owned).collect();
    proto::Webhook { secrets, ..write(webhook) }
}

fn write_filter(filter: &WebhookFilter) -> proto::ChangeFilter {
    let WebhookFilter { changes, metadata } = filter;
    let ChangeFilter { root_id, model, agent_id, labels: _, batch_id, kinds, states } = changes;
    proto::ChangeFilter {
        root_id: root_id.map(|id| id.to_string()).unwrap_or_default(),
        model: model.clone().unwrap_or_default(),
        agent_id: agent_id.clone().unwrap_or_default(),
        metadata: metadata.clone(),
        kinds: kinds.iter().map(|kind| change::write_kind(*kind).into()).collect(),
        states: states.iter().map(|state| turn::write_state(*state).into()).collect(),
        batch_id: batch_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn write_payload(payload: Payload) -> WebhookPayload {
    match payload {
        Payload::Thin => WebhookPayload::Thin,
        Payload::Full => WebhookPayload::Full,
    }
}

fn write_state(state: WebhookState) -> State {
    match state {
        WebhookState::Enabled => State::Enabled,
        WebhookState::Disabled => State::Disabled,
    }
}

/// What was sent.
pub fn write_delivery(delivery: &Delivery) -> proto::WebhookDelivery {
    let Delivery {
        id,
        place: _,
        type_name,
        state,
        round: _,
        attempts,
        http_status,
        error,
        duration_ms,
        attempted_at,
        failing_since: _,
    } = delivery;
    let state = match state {
        DeliveryState::Pending => webhook_delivery::State::Pending,
        DeliveryState::Delivered => webhook_delivery::State::Delivered,
        DeliveryState::Failed => webhook_delivery::State::Failed,
    };
    proto::WebhookDelivery {
        id: id.to_string(),
        revision: number::write(id.revision),
        r#type: type_name.clone(),
        state: state.into(),
        attempt_count: number::write_small(*attempts),
        http_status: http_status.map(i32::from).unwrap_or_default(),
        error: error.clone(),
        duration_ms: number::write(*duration_ms),
        attempted_at: Some(time::write(*attempted_at)),
    }
}

/// The `data` of a delivery: the change in protobuf's JSON, and in `turn` its turn if that is told.
pub fn data(change: &Change, turn: Option<&Turn>) -> Value {
    const FITS: &str = "a message that was just written is one of the contract";
    let mut data = to_json("causerie.v1.Change", &change::write(change)).expect(FITS);
    if let Some(turn) = turn {
        data["turn"] = to_json("causerie.v1.Turn", &turn::write(turn)).expect(FITS);
    }
    data
}
