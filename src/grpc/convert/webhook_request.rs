//! The requests of WebhookService.

use std::collections::BTreeSet;

use prost_types::FieldMask;

use super::{
    background, change, number,
    path::Path,
    rules,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        Failure,
        ids::WebhookId,
        webhook::{DeliveryId, DeliveryState, Payload, WebhookFilter, WebhookSecret, WebhookSpec, WebhookState},
    },
    engine::{RedeliverWhat, WatchStart, WebhookChanges},
    grpc::page_token::Page,
    proto::{
        self, WebhookPayload, create_webhook_request::Start, redeliver_request::What, webhook::State, webhook_delivery,
    },
};

const MAX_URL: usize = 2048;
const MAX_DESCRIPTION: usize = 512;
const MAX_SECRETS: usize = 4;
/// What an update may change.
const FIELDS: [&str; 6] = ["url", "description", "filter", "payload", "secrets", "state"];

/// Reads what CreateWebhook is asked.
pub fn create(request: proto::CreateWebhookRequest) -> Result<(WebhookSpec, WatchStart), Failure> {
    let proto::CreateWebhookRequest { webhook, start } = request;
    violations::read(Rules::All, |violations| {
        let root = Path::root("");
        // Its state is the service's: it is enabled.
        let webhook = proto::Webhook { state: 0, ..webhook.unwrap_or_default() };
        let changes = read(&root.field("webhook"), webhook, |field| field != "state", violations);
        let start = match start {
            None => Some(WatchStart::Now),
            Some(Start::AfterRevision(revision)) => {
                number::read(&root.field("after_revision"), revision, violations).map(WatchStart::After)
            }
            Some(Start::FromOldest(true)) => Some(WatchStart::Oldest),
            Some(Start::FromOldest(false)) => {
                let text = "must be true if it is given: to begin now, leave it out";
                violations.add(&root.field("from_oldest"), format_args!("{text}"));
                None
            }
        };
        let WebhookChanges { url, description, filter, payload, secrets, state: _ } = changes?;
        let spec =
            WebhookSpec { url: url?, description: description?, filter: filter?, payload: payload?, secrets: secrets? };
        Some((spec, start?))
    })
}

/// Reads which webhook is meant.
pub fn id(webhook_id: &str) -> Result<WebhookId, Failure> {
    violations::read(Rules::All, |violations| read_id(&Path::root("webhook_id"), webhook_id, violations))
}

/// Reads what ListWebhooks is asked.
pub fn list(mut request: proto::ListWebhooksRequest) -> Result<Page, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        Page::read(&Path::root(""), "ListWebhooks", &request, (page.0, &page.1), violations)
    })
}

/// Reads what UpdateWebhook is asked.
pub fn update(request: proto::UpdateWebhookRequest) -> Result<(WebhookId, WebhookChanges), Failure> {
    let proto::UpdateWebhookRequest { webhook, update_mask } = request;
    violations::read(Rules::All, |violations| {
        let root = Path::root("");
        let (at, webhook) = (root.field("webhook"), webhook.unwrap_or_default());
        let id = read_id(&at.field("id"), &webhook.id, violations);
        let asked = read_mask(&root.field("update_mask"), update_mask, &webhook, violations);
        if asked.contains("secrets") && webhook.secrets.is_empty() {
            violations
                .add(&at.field("secrets"), format_args!("must be 1 to {MAX_SECRETS}: a webhook is always signed"));
        }
        let changes = read(&at, webhook, |field| asked.contains(field), violations);
        Some((id?, changes?))
    })
}

/// Reads what ListDeliveries is asked.
pub fn deliveries(mut request: proto::ListDeliveriesRequest) -> Result<(WebhookId, Vec<DeliveryState>, Page), Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListDeliveries", &request, (page.0, &page.1), violations);
        let proto::ListDeliveriesRequest { webhook_id, page_size: _, page_token: _, states } = request;
        let id = read_id(&at.field("webhook_id"), &webhook_id, violations);
        let states = states.into_iter().enumerate();
        let states: Vec<_> =
            states.map(|(i, number)| read_delivery_state(&at.item("states", i), number, violations)).collect();
        let states: Option<BTreeSet<DeliveryState>> = states.into_iter().collect();
        Some((id?, states?.into_iter().collect(), page?))
    })
}

/// Reads what Redeliver is asked.
pub fn redeliver(request: proto::RedeliverRequest) -> Result<(WebhookId, RedeliverWhat), Failure> {
    let proto::RedeliverRequest { webhook_id, what } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let id = read_id(&at.field("webhook_id"), &webhook_id, violations);
        let what = match what {
            Some(What::DeliveryId(id)) => read_delivery(&at.field("delivery_id"), &id, violations),
            Some(What::AfterRevision(revision)) => {
                number::read(&at.field("after_revision"), revision, violations).map(RedeliverWhat::After)
            }
            None => {
                violations.add(&at.field("delivery_id"), format_args!("is required, or `after_revision`"));
                None
            }
        };
        Some((id?, what?))
    })
}

fn read_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<WebhookId> {
    rules::webhook_id(at, text, violations)
}

fn read_delivery(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<RedeliverWhat> {
    let id: DeliveryId = rules::delivery_id(at, text, violations)?;
    Some(RedeliverWhat::Delivery(id))
}

/// The fields of a webhook that are asked for.
fn read(
    at: &Path<'_>,
    webhook: proto::Webhook,
    asked: impl Fn(&str) -> bool,
    violations: &mut Violations,
) -> Option<WebhookChanges> {
    let proto::Webhook {
        url,
        description,
        filter,
        payload,
        secrets,
        state,
        id: _,
        disabled_reason: _,
        delivered_revision: _,
        failure_count: _,
        last_error: _,
        next_attempt_at: _,
        created_at: _,
        secret_count: _,
    } = webhook;
    let mut changes = WebhookChanges::default();
    if asked("url") {
        background::http_url(&at.field("url"), &url, MAX_URL, violations);
        changes.url = Some(url);
    }
    if asked("description") {
        rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
        changes.description = Some(description);
    }
    if asked("filter") {
        changes.filter = Some(match filter {
            Some(filter) => Some(read_filter(&at.field("filter"), filter, violations)?),
            None => None,
        });
    }
    if asked("payload") {
        changes.payload = Some(read_payload(&at.field("payload"), payload, violations)?);
    }
    if asked("secrets") {
        changes.secrets = Some(read_secrets(at, &secrets, violations));
    }
    if asked("state") {
        changes.state = Some(read_state(&at.field("state"), state, violations)?);
    }
    Some(changes)
}

fn read_filter(at: &Path<'_>, filter: proto::ChangeFilter, violations: &mut Violations) -> Option<WebhookFilter> {
    let metadata = filter.metadata.clone();
    Some(WebhookFilter { changes: change::read_filter(at, filter, violations)?, metadata })
}

fn read_payload(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Payload> {
    match WebhookPayload::try_from(number) {
        Ok(WebhookPayload::Unspecified | WebhookPayload::Thin) => Some(Payload::Thin),
        Ok(WebhookPayload::Full) => Some(Payload::Full),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn read_state(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<WebhookState> {
    match State::try_from(number) {
        Ok(State::Enabled) => Some(WebhookState::Enabled),
        Ok(State::Disabled) => Some(WebhookState::Disabled),
        Ok(State::Unspecified) => {
            violations.add(at, format_args!("must be ENABLED or DISABLED"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn read_delivery_state(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<DeliveryState> {
    match webhook_delivery::State::try_from(number) {
        Ok(webhook_delivery::State::Pending) => Some(DeliveryState::Pending),
        Ok(webhook_delivery::State::Delivered) => Some(DeliveryState::Delivered),
        Ok(webhook_delivery::State::Failed) => Some(DeliveryState::Failed),
        Ok(webhook_delivery::State::Unspecified) => {
            violations.add(at, format_args!("must be stated; for all states leave `states` out"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn read_secrets(at: &Path<'_>, secrets: &[String], violations: &mut Violations) -> Vec<WebhookSecret> {
    if secrets.len() > MAX_SECRETS {
        violations.add(&at.field("secrets"), format_args!("must be at most {MAX_SECRETS}, are {}", secrets.len()));
    }
    let mut read = Vec::with_capacity(secrets.len().min(MAX_SECRETS));
    for (i, text) in secrets.iter().enumerate() {
        match WebhookSecret::parse(text) {
            Some(secret) => read.push(secret),
            None => violations.add(
                &at.item("secrets", i),
                format_args!("must be `whsec_` and the base64 of 24 to 64 bytes, padded, has {} bytes", text.len()),
            ),
        }
    }
    read
}

/// The fields that an update changes.
fn read_mask(
    at: &Path<'_>,
    mask: Option<FieldMask>,
    webhook: &proto::Webhook,
    violations: &mut Violations,
) -> BTreeSet<&'static str> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return FIELDS.into_iter().filter(|field| is_given(webhook, field)).collect();
    }
    let mut asked = BTreeSet::new();
    for (i, path) in paths.iter().enumerate() {
        match FIELDS.into_iter().find(|field| field == path) {
            Some(field) => drop(asked.insert(field)),
            None => violations.add(&at.item("paths", i), format_args!("must be one of {}", FIELDS.join(", "))),
        }
    }
    asked
}

fn is_given(webhook: &proto::Webhook, field: &str) -> bool {
    match field {
        "url" => !webhook.url.is_empty(),
        "description" => !webhook.description.is_empty(),
        "filter" => webhook.filter.is_some(),
        "payload" => webhook.payload != 0,
        "secrets" => !webhook.secrets.is_empty(),
        "state" => webhook.state != 0,
        _ => false,
    }
}
