//! What the tests of retries, fallbacks, limits and budgets share.

use causerie::proto::{self, event::Kind};

use super::{provider::ScriptedProvider, server::start};

/// Three attempts, as fast as they may be.
pub(crate) const RETRIES: [(&str, &str); 3] =
    [("retry.max_attempts", "3"), ("retry.base_delay", "1ms"), ("retry.max_delay", "2ms")];

/// Settings and some more.
pub(crate) fn with<'a>(some: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [some, more].concat()
}

/// The section of a second provider, of OpenAI's dialect and without a key.
pub(crate) fn other(provider: &ScriptedProvider) -> String {
    section("other", "openai", provider)
}

/// The section of a provider without a key.
pub(crate) fn section(name: &str, dialect: &str, provider: &ScriptedProvider) -> String {
    let base_url = provider.base_url();
    format!("[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{base_url}\"\nkey_header = \"none\"\n")
}

/// A Start of one user message, at this model.
pub(crate) fn start_on(model: &str, input: &str) -> proto::StartRequest {
    proto::StartRequest { model: model.to_owned(), ..start(input) }
}

/// These models take over.
pub(crate) fn falling_back_to(models: &[&str]) -> proto::Forwarding {
    let fallback_models = models.iter().map(|model| (*model).to_owned()).collect();
    proto::Forwarding { fallback_models, ..Default::default() }
}

/// The retries among these events, in their order.
pub(crate) fn retries(events: &[proto::Event]) -> Vec<&proto::UpstreamRetry> {
    let retries = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::UpstreamRetry(retry)) => Some(retry),
        _ => None,
    });
    retries.collect()
}

/// The switches among these events, in their order.
pub(crate) fn switches(events: &[proto::Event]) -> Vec<&proto::UpstreamSwitched> {
    let switches = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::UpstreamSwitched(switch)) => Some(switch),
        _ => None,
    });
    switches.collect()
}

/// Model and attempts of `Turn.models`.
pub(crate) fn asked(turn: &proto::Turn) -> Vec<(&str, i32)> {
    turn.models.iter().map(|model| (model.model.as_str(), model.attempts)).collect()
}

/// Millionths of a dollar's millionth.
pub(crate) fn picos(money: Option<&proto::Money>) -> Option<i128> {
    money.map(|money| {
        assert_eq!(money.currency_code, "USD");
        i128::from(money.units) * 1_000_000_000_000 + i128::from(money.nanos) * 1000 + i128::from(money.picos)
    })
}

/// An amount of dollars' millionths.
pub(crate) fn micros(micros: i32) -> proto::Money {
    proto::Money { nanos: micros * 1000, ..Default::default() }
}
