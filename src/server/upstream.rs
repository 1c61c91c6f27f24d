//! From the configuration to the models that the engine can ask.

use std::{
    collections::BTreeMap,
    fs,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
};

use super::Error;
use crate::{
    config::{self, Config},
    engine::{ModelOptions, ModelPolicy, ProviderPolicy, RateLimits, RetryOptions, WindowBudget},
    offline::Offline,
    tools::net::HostPort,
    upstream::{
        self, Catalogue, Dialect, KeyHeader, KeySource, MaxTokensField, Override, Price, Provider, Providers, Secret,
        guard::BreakerOptions,
    },
};

/// The name of the stand-in that `--offline` starts.
const OFFLINE: &str = "offline";
/// What an answer may have, text, thinking and arguments together: it must fit a message.
const OUTPUT_BYTES: usize = 2 << 20;

/// The models that can be asked: those of the configured providers, or of the stand-in and nobody else.
pub(super) fn models(config: &Config, offline: Option<&Offline>) -> Result<ModelOptions, Error> {
    let mut providers = Vec::new();
    let mut policies = BTreeMap::new();
    let mut overrides = Vec::new();
    for configured in &config.providers {
        let stands_in = offline.filter(|_| configured.name == config.default_provider);
        if offline.is_some() && stands_in.is_none() {
            continue;
        }
        let options = match stands_in {
            Some(offline) => stand_in(configured, offline),
            None => options(configured),
        };
        let connector_secrets = match stands_in {
            // No real one goes there.
            Some(_) => config.tools.secrets.keys().map(|name| (name.clone(), Secret::new(OFFLINE))).collect(),
            None => connector_secrets(&config.tools.secrets, &configured.base_url),
        };
        let options = upstream::Options { connector_secrets, ..options };
        let name = options.name.clone();
        providers.push(Provider::new(options).map_err(|error| Error::Provider(error.to_string()))?);
        policies.insert(name.clone(), policy(configured));
        overrides.extend(configured.models.iter().map(|(model, set)| (name.clone(), model.clone(), card(set))));
    }
    let default = if offline.is_some() { OFFLINE } else { &config.default_provider };
    Ok(ModelOptions {
        providers: Providers::new(default, providers).map_err(|error| Error::Provider(error.to_string()))?,
        catalogue: Catalogue::new(overrides),
        policies,
        breaker: breaker(&config.breaker),
        retry: retry(&config.retry),
        fallback_models: config.fallback_models.clone(),
    })
}

/// The ceilings on what all turns may spend.
pub(super) fn budgets(config: &Config) -> Vec<WindowBudget> {
    let budget = |budget: &config::Budget| {
        let (provider, models) = match &budget.covers {
            config::Covers::All => (None, None),
            config::Covers::Provider(name) => (Some(name.clone()), None),
            config::Covers::Model(name) => (None, Some(vec![name.clone()])),
        };
        let ceiling = WindowBudget::ceiling(budget.max_tokens, budget.max_cost);
        WindowBudget { name: budget.name.clone(), window: budget.window, ceiling, provider, models }
    };
    config.budgets.iter().map(budget).collect()
}

fn options(provider: &config::Provider) -> upstream::Options {
    let config::Provider {
        name,
        dialect,
        max_tokens_field,
        base_url,
        key,
        key_header,
        caller_keys: _,
        headers,
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        answer_timeout,
        max_concurrent: _,
        max_waiting: _,
        requests_per_minute: _,
        tokens_per_minute: _,
        models: _,
    } = provider;
    let headers = headers.iter().map(|(name, value)| {
        let value = value.to_str().expect("the configuration takes visible characters only");
        (name.as_str().to_owned(), Secret::new(value))
    });
    upstream::Options {
        name: name.clone(),
        dialect: match dialect {
            config::Dialect::Mistral => Dialect::Mistral,
            config::Dialect::OpenAi => Dialect::OpenAi,
        },
        max_tokens_field: max_tokens_field.map(|field| match field {
            config::MaxTokensField::MaxTokens => MaxTokensField::MaxTokens,
            config::MaxTokensField::MaxCompletionTokens => MaxTokensField::MaxCompletionTokens,
        }),
        base_url: base_url.clone(),
        key: key_source(key),
        key_place: key_place(name, key),
        key_header: match key_header {
            config::KeyHeader::Bearer | config::KeyHeader::None => KeyHeader::Bearer,
            config::KeyHeader::ApiKey => KeyHeader::ApiKey,
        },
        headers: headers.collect(),
        connector_secrets: BTreeMap::new(),
        connect_timeout: *connect_timeout,
        first_byte_timeout: *first_byte_timeout,
        idle_timeout: *idle_timeout,
        whole_answer_timeout: *answer_timeout,
        max_output_bytes: OUTPUT_BYTES,
    }
}

/// The secrets that may be sent to this provider, for connectors that it is to open. They are read once.
fn connector_secrets(secrets: &BTreeMap<String, config::ToolSecret>, base_url: &str) -> BTreeMap<String, Secret> {
    let (scheme, rest) = base_url.split_once("://").unwrap_or_default();
    let place = rest.split(['/', '?', '#']).next().and_then(HostPort::parse);
    let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let is_for = |entry: &String| {
        let entry = HostPort::parse(entry);
        entry.zip(place.as_ref()).is_some_and(|(entry, at)| entry.means(&at.host, at.port.or(Some(usual))))
    };
    let allowed = secrets.iter().filter(|(_, secret)| secret.hosts.iter().any(is_for));
    let read = allowed.filter_map(|(name, secret)| {
        let value = match &secret.value {
            config::SecretSource::Missing(_) => return None,
            config::SecretSource::Value(value) => value.expose().to_owned(),
            config::SecretSource::File(path) => fs::read_to_string(path).ok()?.trim().to_owned(),
        };
        Some((name.clone(), Secret::new(value.as_str())))
    });
    read.collect()
}

/// The stand-in takes any key; a real one must not go there, nor headers that are meant for somebody else.
fn stand_in(provider: &config::Provider, offline: &Offline) -> upstream::Options {
    upstream::Options {
        name: OFFLINE.to_owned(),
        dialect: Dialect::Mistral,
        max_tokens_field: None,
        base_url: offline.base_url(),
        key: KeySource::Value(Secret::new(OFFLINE)),
        key_header: KeyHeader::Bearer,
        headers: Vec::new(),
        connector_secrets: BTreeMap::new(),
        ..options(provider)
    }
}

pub(super) fn key_source(key: &config::KeySource) -> KeySource {
    match key {
        config::KeySource::NotNeeded => KeySource::NotNeeded,
        config::KeySource::Missing { variable: _ } => KeySource::None,
        config::KeySource::Variable { name: _, key } => KeySource::Value(Secret::new(key.expose())),
        config::KeySource::File(path) => KeySource::File(path.clone()),
        config::KeySource::Command(line) => KeySource::Command(Secret::new(line.as_str())),
    }
}

/// Where the operator puts a key.
fn key_place(name: &str, key: &config::KeySource) -> String {
    match key {
        config::KeySource::Variable { name: variable, key: _ }
        | config::KeySource::Missing { variable: Some(variable) } => {
            format!("{variable} or providers.{name}.key_file")
        }
        config::KeySource::File(_) => format!("providers.{name}.key_file"),
        config::KeySource::Command(_) => format!("providers.{name}.key_command"),
        config::KeySource::NotNeeded | config::KeySource::Missing { variable: None } => {
            format!("providers.{name}.key_env or providers.{name}.key_file")
        }
    }
}

fn policy(provider: &config::Provider) -> ProviderPolicy {
    let models = provider.models.iter().map(|(name, model)| {
        let policy = ModelPolicy {
            limits: limits(model.requests_per_minute, model.tokens_per_minute),
            fallback_models: model.fallback_models.clone(),
        };
        (name.clone(), policy)
    });
    ProviderPolicy {
        max_concurrent: NonZeroUsize::new(provider.max_concurrent).unwrap_or(NonZeroUsize::MIN),
        max_waiting: provider.max_waiting,
        limits: limits(provider.requests_per_minute, provider.tokens_per_minute),
        caller_keys: provider.caller_keys,
        models: models.collect(),
    }
}

fn limits(requests_per_minute: Option<u32>, tokens_per_minute: Option<u64>) -> RateLimits {
    RateLimits {
        requests_per_minute: requests_per_minute.and_then(NonZeroU32::new),
        tokens_per_minute: tokens_per_minute.and_then(NonZeroU64::new),
    }
}

fn card(model: &config::Model) -> Override {
    let price = model.price.as_ref().map(|price| Price {
        input: price.input,
        cached_input: price.cached_input,
        output: price.output,
        connectors: price.connectors.clone(),
        read_on: "configuration".into(),
        provisional: false,
    });
    Override { context_tokens: model.context_tokens, price }
}

fn breaker(breaker: &config::Breaker) -> BreakerOptions {
    let config::Breaker { enabled, failure_rate, min_calls, window, open } = *breaker;
    // One that waits for that many calls never opens.
    let min_calls = if enabled { min_calls } else { u32::MAX };
    BreakerOptions { failure_rate, min_calls, window, open }
}

fn retry(retry: &config::Retry) -> RetryOptions {
    let config::Retry { max_attempts, base_delay, max_delay, max_elapsed } = *retry;
    RetryOptions { max_attempts, base_delay, max_delay, max_elapsed }
}
