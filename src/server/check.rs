//! Whether the configured providers can be used: what `causerie providers` tells. Neither store nor port is opened.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Error, upstream};
use crate::{
    config::Config,
    offline::Offline,
    upstream::{Check, Dialect, KeyState, Provider},
};

/// How long a provider has to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// What a try of a provider showed.
#[derive(Debug, Clone)]
pub struct ProviderCheck {
    /// Its name.
    pub name: String,
    /// Models that are named without a provider are its own.
    pub is_default: bool,
    /// How it speaks chat completions: `mistral` or `openai`.
    pub dialect: &'static str,
    /// It answered, whatever it said.
    pub is_reachable: bool,
    /// What is known of its key, in a word or two.
    pub key: &'static str,
    /// How many models it lists; `None`: it did not list them.
    pub models: Option<usize>,
    /// How far its clock is ahead of ours (behind: negative), in milliseconds; `None`: it did not say.
    pub clock_skew_ms: Option<i64>,
    /// From the request to the head of the answer; `None`: there was none.
    pub round_trip: Option<Duration>,
    /// What is wrong, for a person.
    pub problem: Option<String>,
    /// Turns can be forwarded to it, as far as can be told without spending tokens.
    pub is_usable: bool,
}

/// Asks all configured providers at once for their models, which costs no tokens; offline the stand-in alone. The default
/// one comes first.
///
/// # Errors
///
/// If a provider is configured so that it cannot be asked, or the stand-in cannot start. One that does not answer is in the
/// list.
pub async fn check_providers(config: &Config) -> Result<Vec<ProviderCheck>, Error> {
    let offline = match config.offline {
        true => Some(Offline::start().await.map_err(Error::Network)?),
        false => None,
    };
    let models = upstream::models(config, offline.as_ref())?;
    let default = models.providers.default().name();
    let mut providers: Vec<&Provider> =
        models.providers.iter().filter(|provider| offline.is_some() || config.is_in_use(provider.name())).collect();
    providers.sort_by_key(|provider| provider.name() != default);
    let deadline = Instant::now() + CHECK_TIMEOUT;
    let checks = providers.iter().map(|provider| async {
        let caller_keys = models.policies.get(provider.name()).is_some_and(|policy| policy.caller_keys);
        row(provider, provider.name() == default, caller_keys, provider.check(deadline).await)
    });
    Ok(join_all(checks).await)
}

fn row(provider: &Provider, is_default: bool, caller_keys: bool, check: Check) -> ProviderCheck {
    let is_usable = is_usable(&check, caller_keys);
    let Check { reachable, status: _, key, models, clock_skew_ms, round_trip, failure } = check;
    ProviderCheck {
        name: provider.name().to_owned(),
        is_default,
        dialect: match provider.dialect() {
            Dialect::Mistral => "mistral",
            Dialect::OpenAi => "openai",
        },
        is_reachable: reachable,
        key: match key {
            KeyState::Missing if caller_keys => "callers' own",
            KeyState::Missing => "missing",
            KeyState::NotNeeded => "not needed",
            KeyState::Accepted => "accepted",
            KeyState::Refused => "refused",
            KeyState::Unknown => "not known",
        },
        models,
        clock_skew_ms,
        round_trip: reachable.then_some(round_trip),
        // Without a key of our own it is expected that there is no list.
        problem: failure.map(|failure| failure.message).filter(|_| !(is_usable && key == KeyState::Missing)),
        is_usable,
    }
}

fn is_usable(check: &Check, caller_keys: bool) -> bool {
    let has_key = match check.key {
        KeyState::Missing => caller_keys,
        KeyState::Refused => false,
        KeyState::NotNeeded | KeyState::Accepted | KeyState::Unknown => true,
    };
    let answers = match check.status {
        // Some have no list of models, and answer turns all the same.
        Some(404 | 405 | 501) => true,
        // We have no key to show.
        Some(401 | 403) if check.key == KeyState::Missing => true,
        // It is well, and has enough to do.
        Some(429) => true,
        Some(_) => check.failure.is_none() || check.key == KeyState::Missing && check.models.is_some(),
        None => false,
    };
    has_key && answers
}
