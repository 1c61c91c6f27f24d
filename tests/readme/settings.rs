//! The configuration files that the README shows are read as they are.

use std::path::Path;

use causerie::config::{Config, Covers, Dialect, KeyHeader, KeySource, MaxTokensField, Sources};

use super::{blocks::blocks, text};
use crate::{agents, support::server::TestServer};

/// Each block of it that is a configuration file, read.
fn shown() -> Vec<Config> {
    let files = blocks(&text()).into_iter().filter(|block| block.language == "toml");
    let read = files.map(|block| {
        let sources = Sources::default().with_file(Path::new("README.md"), &block.body);
        Config::load(&sources).unwrap_or_else(|error| panic!("README.md, the block at line {}: {error}", block.line))
    });
    read.collect()
}

#[test]
fn every_provider_that_is_shown_can_be_configured_so() {
    let configs = shown();
    let providers: Vec<_> = configs.iter().flat_map(|config| config.providers.iter().skip(1)).collect();
    let names: Vec<_> = providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["openai", "azure", "ollama", "vllm", "llama-cpp", "bedrock", "openai"]);
    for provider in &providers {
        assert_eq!(provider.dialect, Dialect::OpenAi, "{}", provider.name);
        let keyless = matches!(provider.key, KeySource::NotNeeded);
        assert_eq!(keyless, ["ollama", "llama-cpp"].contains(&provider.name.as_str()), "{}", provider.name);
        // They know the older field surely; the others' models may refuse it.
        let older = ["ollama", "vllm", "llama-cpp"].contains(&provider.name.as_str());
        let expected = older.then_some(MaxTokensField::MaxTokens);
        assert_eq!(provider.max_tokens_field, expected, "{}", provider.name);
    }
    assert_eq!(providers[0].headers.len(), 1);
    assert_eq!(providers[1].key_header, KeyHeader::ApiKey);
    assert_eq!(providers[1].key, KeySource::Command("pass show azure".into()));
}

#[test]
fn the_prices_and_budgets_that_are_shown_can_be_set_so() {
    let config = shown().pop().expect("the last one");
    let model = &config.providers[1].models["gpt-4.1-mini"];
    let price = model.price.as_ref().expect("it has one");
    let decimals = [price.input, price.cached_input, price.output, price.connectors["web_search"]];
    assert_eq!(decimals.map(|decimal| decimal.to_string()), ["0.40", "0.10", "1.60", "0.03"]);
    assert_eq!(model.fallback_models.as_deref(), Some(&["mistral/mistral-small-latest".to_owned()][..]));
    assert_eq!(config.fallback_models, ["mistral-small-latest"]);
    let covers: Vec<_> = config.budgets.iter().map(|budget| &budget.covers).collect();
    assert_eq!(covers, [&Covers::All, &Covers::Model("mistral-large-latest".into())]);
}

#[tokio::test]
async fn the_agents_and_tools_that_are_shown_can_be_declared_so() {
    let mut files = blocks(&text()).into_iter().filter(|block| block.language == "toml");
    let shown = files.find(|block| block.body.contains("[agents.")).expect("agents are shown");
    // The server starts only if they can be used.
    let server = TestServer::configured(&shown.body, &[]).await;
    let mut declared = agents::list(&mut agents::client(&server).await).await;
    declared.sort_by(|one, other| one.name.cmp(&other.name));
    let told: Vec<_> =
        declared.iter().map(|agent| (agent.name.as_str(), agent.handoffs.len(), agent.tools.len())).collect();
    assert_eq!(told, [("billing", 0, 1), ("support", 1, 1)]);
    server.stop().await;
}
