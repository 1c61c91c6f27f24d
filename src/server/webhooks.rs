//! From the configuration to how endpoints are told of changes.

use crate::{
    config,
    domain::webhook::WebhookSecret,
    engine::{CallbackSecret, WebhookOptions},
    grpc::convert,
};

/// How endpoints are told.
pub(super) fn options(config: &config::Webhooks) -> WebhookOptions {
    let config::Webhooks { callback_secret, timeout, concurrency, backoff_base, backoff_max, give_up_after } = config;
    WebhookOptions {
        callback_secret: callback_secret.as_ref().map(secret),
        timeout: *timeout,
        concurrency: *concurrency,
        backoff_base: *backoff_base,
        backoff_max: *backoff_max,
        give_up_after: *give_up_after,
        render: convert::webhook::data,
    }
}

fn secret(source: &config::SecretSource) -> CallbackSecret {
    match source {
        config::SecretSource::Value(secret) => CallbackSecret::Value(WebhookSecret::stored(secret.expose().to_owned())),
        config::SecretSource::File(path) => CallbackSecret::File(path.clone()),
        config::SecretSource::Missing(name) => CallbackSecret::Missing(name.clone()),
    }
}
