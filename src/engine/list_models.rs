//! Which models turns can name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Engine;
use crate::{
    domain::Failure,
    upstream::{Dialect, ModelCard, Price, Provider},
};

/// How long a provider has to list its models.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// A configured provider.
#[derive(Debug, Clone)]
pub struct ListedProvider {
    /// Its name.
    pub name: String,
    /// Models without a provider's name are its own.
    pub is_default: bool,
    /// What it speaks.
    pub dialect: Dialect,
    /// Why it could not list its models.
    pub failure: Option<Failure>,
}

/// A model that turns can name.
#[derive(Debug, Clone)]
pub struct ListedModel {
    /// As turns name it.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Its context window: as configured, else as the provider says, else as built in.
    pub context_tokens: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
    /// When it goes, as far as is known without asking the provider.
    pub retires_on: Option<&'static str>,
    /// Asked when it fails.
    pub fallback_models: Vec<String>,
    /// What the provider says of it; `None`: only the configuration names it.
    pub card: Option<Arc<ModelCard>>,
}

impl Engine {
    /// The configured providers, the default one first, and their models by name. `only`: of this provider.
    ///
    /// # Errors
    ///
    /// INVALID_REQUEST if there is no such provider. One that does not answer is listed with its failure.
    pub async fn list_models(
        &self,
        only: Option<&str>,
        deadline: Option<Instant>,
    ) -> Result<(Vec<ListedProvider>, Vec<ListedModel>), Failure> {
        let providers = self.shared.models.providers();
        if let Some(name) = only.filter(|name| providers.get(name).is_none()) {
            let names: Vec<&str> = providers.iter().map(Provider::name).collect();
            let text = format!("is {name:?}, which is not configured; there are: {}", names.join(", "));
            return Err(Failure::invalid_field("provider", text));
        }
        let longest = Instant::now() + LIST_TIMEOUT;
        let deadline = deadline.map_or(longest, |deadline| deadline.min(longest));
        let default = providers.default().name();
        let mut asked: Vec<&Provider> =
            providers.iter().filter(|provider| only.is_none_or(|name| provider.name() == name)).collect();
        asked.sort_by_key(|provider| provider.name() != default);
        let listed = join_all(asked.iter().map(|provider| self.models_of(provider, deadline))).await;
        let (mut all, mut models) = (Vec::new(), Vec::new());
        for (provider, of_it) in listed {
            all.push(provider);
            models.extend(of_it);
        }
        Ok((all, models))
    }

    async fn models_of(&self, provider: &Provider, deadline: Instant) -> (ListedProvider, Vec<ListedModel>) {
        let models = &self.shared.models;
        let cards = models.providers().cards(provider, deadline).await;
        let (cards, failure) = match cards {
            Ok(cards) => (cards, None),
            Err(failure) => (Arc::from([]), Some(failure)),
        };
        let configured = models.options().policies.get(provider.name());
        let named = configured.iter().flat_map(|policy| policy.models.keys().map(|name| (name.clone(), None)));
        let mut found: BTreeMap<String, Option<Arc<ModelCard>>> = named.collect();
        found.extend(cards.iter().map(|card| (card.id.clone(), Some(card.clone()))));
        let rows = found.into_iter().map(|(model, card)| self.listed(provider, &model, card));
        let listed = ListedProvider {
            name: provider.name().to_owned(),
            is_default: provider.name() == models.providers().default().name(),
            dialect: provider.dialect(),
            failure,
        };
        (listed, rows.collect())
    }

    fn listed(&self, provider: &Provider, model: &str, card: Option<Arc<ModelCard>>) -> ListedModel {
        let models = &self.shared.models;
        let name = models.providers().canonical(provider, model);
        let known = models.options().catalogue.card(provider.name(), model);
        // A list for all models names some of them.
        let fallbacks = models.configured_fallbacks(provider.name(), model).iter();
        ListedModel {
            fallback_models: fallbacks.filter(|other| models.canonical(other) != name).cloned().collect(),
            name,
            provider: provider.name().to_owned(),
            context_tokens: known.context_tokens(card.as_ref().and_then(|card| card.context_tokens)),
            price: known.price,
            retires_on: known.retires_on,
            card,
        }
    }
}
