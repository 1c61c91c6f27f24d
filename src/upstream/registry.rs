//! The providers by name: which of them a model's name means, and what they say of their models.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{Failure, ModelCard, OptionsError, Provider};
use crate::domain::Reason;

/// How long a list of models is told before it is asked for again.
const CARDS_KEPT: Duration = Duration::from_secs(600);
/// How long a failure is told without another try, so that those who waited for one try don't each wait for their own.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// All configured providers, one of them the default. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    members: Vec<Member>,
    default: usize,
}

#[derive(Debug)]
struct Member {
    provider: Provider,
    /// The last list that came. Read for each turn, so it is apart from the flight.
    cards: RwLock<Option<Arc<Cards>>>,
    /// Held while the list is asked for, so that one request serves all who want it.
    flight: Mutex<Flight>,
}

/// A list of models, also by name.
#[derive(Debug)]
struct Cards {
    list: Arc<[Arc<ModelCard>]>,
    by_name: HashMap<String, Arc<ModelCard>>,
}

#[derive(Debug, Default)]
struct Flight {
    /// The list is as old as this.
    landed: Option<Instant>,
    failed: Option<(Instant, Failure)>,
}

impl Providers {
    /// These providers, of which `default` names one. Names must be different, not empty, and without a slash, which ends them in
    /// the names of models.
    pub fn new(default: &str, providers: Vec<Provider>) -> Result<Providers, OptionsError> {
        let mut names = HashSet::new();
        for provider in &providers {
            let name = provider.name();
            if name.is_empty() || name.contains('/') {
                return Err(OptionsError(format!("a provider's name must not be empty nor hold a slash: {name:?}")));
            }
            if !names.insert(name) {
                return Err(OptionsError(format!("two providers have the name {name:?}")));
            }
        }
        let position = providers.iter().position(|provider| provider.name() == default);
        let default =
            position.ok_or_else(|| OptionsError(format!("the default provider {default:?} is not configured")))?;
        let members = providers.into_iter().map(Member::new).collect();
        Ok(Providers { inner: Arc::new(Inner { members, default }) })
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.member(name).map(|member| &member.provider)
    }

    /// All of them, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.inner.members.iter().map(|member| &member.provider)
    }

    /// The provider of models that name none.
    pub fn default(&self) -> &Provider {
        // The index was found in this list, which never changes.
        &self.inner.members[self.inner.default].provider
    }

    /// The provider that a model's name means, and the name that the provider knows it by: `provider/name`, if there is a
    /// provider of that name; everything else is a model of the default provider, with its slashes, as in
    /// `meta-llama/Llama-3`.
    pub fn route<'m>(&self, model: &'m str) -> (Provider, &'m str) {
        let named = model.split_once('/').filter(|(_, name)| !name.is_empty());
        let named = named.and_then(|(provider, name)| Some((self.get(provider)?, name)));
        let (provider, name) = named.unwrap_or((self.default(), model));
        (provider.clone(), name)
    }

    /// The shortest name that [`Providers::route`] takes to this model of this provider: `name` for the default provider, else
    /// `provider/name`.
    pub fn canonical(&self, provider: &Provider, model: &str) -> String {
        // A model of the default provider may look like another provider's.
        let (routed, name) = self.route(model);
        if routed.name() == provider.name() && name == model {
            model.to_owned()
        } else {
            format!("{}/{model}", provider.name())
        }
    }

    /// What a provider says of its models: as it said in the last ten minutes, else asked for now, once for all who ask at the
    /// same time. Fails as [`Provider::models`] does, and with that failure for some seconds more.
    pub async fn cards(&self, provider: &Provider, deadline: Instant) -> Result<Arc<[Arc<ModelCard>]>, Failure> {
        let Some(member) = self.member(provider.name()) else {
            return Err(provider.inner.origin.failure(Reason::ModelNotFound, "this provider is not configured"));
        };
        member.cards(deadline).await
    }

    /// What a provider last said of a model, by its name or an alias; without asking it, so `None` until
    /// [`Providers::cards`] did. However old it is.
    pub fn known_card(&self, provider: &Provider, model: &str) -> Option<Arc<ModelCard>> {
        self.member(provider.name())?.known()?.by_name.get(model).cloned()
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.inner.members.iter().find(|member| member.provider.name() == name)
    }
}

impl Member {
    fn new(provider: Provider) -> Member {
        Member { provider, cards: RwLock::default(), flight: Mutex::default() }
    }

    fn known(&self) -> Option<Arc<Cards>> {
        // A panic elsewhere can't leave half a value here, so a poisoned lock is as good as any.
        self.cards.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn cards(&self, deadline: Instant) -> Result<Arc<[Arc<ModelCard>]>, Failure> {
        let Ok(mut flight) = timeout_at(deadline, self.flight.lock()).await else {
            let text = format!("the deadline passed before {} had listed its models", self.provider.name());
            return Err(self.provider.inner.origin.failure(Reason::Timeout, text));
        };
        if flight.landed.is_some_and(|at| at.elapsed() < CARDS_KEPT)
            && let Some(cards) = self.known()
        {
            return Ok(cards.list.clone());
        }
        if let Some((_, failure)) = flight.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_KEPT) {
            return Err(failure.clone());
        }
        match self.provider.models(deadline).await {
            Ok(cards) => {
                let cards = Arc::new(Cards::new(cards));
                let list = cards.list.clone();
                *self.cards.write().unwrap_or_else(PoisonError::into_inner) = Some(cards);
                *flight = Flight { landed: Some(Instant::now()), failed: None };
                Ok(list)
            }
            Err(fault) => {
                // Another caller may have more time than this one.
                let is_ours = Instant::now() >= deadline;
                flight.failed = Some((Instant::now(), fault.failure.clone())).filter(|_| !is_ours);
                Err(fault.failure)
            }
        }
    }
}

impl Cards {
    fn new(cards: Vec<ModelCard>) -> Cards {
        let list: Arc<[Arc<ModelCard>]> = cards.into_iter().map(Arc::new).collect();
        let mut by_name: HashMap<String, Arc<ModelCard>> = HashMap::new();
        // A name of its own counts more than an alias.
        let names = list.iter().map(|card| (&card.id, card));
        let aliases = list.iter().flat_map(|card| card.aliases.iter().map(move |alias| (alias, card)));
        for (name, card) in names.chain(aliases) {
            by_name.entry(name.clone()).or_insert_with(|| card.clone());
        }
        Cards { list, by_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_providers_and_back() {
        let providers = ["mistral", "openai", "local"].map(Provider::never_asked).into();
        let providers = Providers::new("mistral", providers).expect("right");
        let rows = [
            ("mistral-small-latest", "mistral", "mistral-small-latest", "mistral-small-latest"),
            ("mistral/mistral-small-latest", "mistral", "mistral-small-latest", "mistral-small-latest"),
            ("openai/gpt-5", "openai", "gpt-5", "openai/gpt-5"),
            ("local/meta-llama/Llama-3", "local", "meta-llama/Llama-3", "local/meta-llama/Llama-3"),
            ("meta-llama/Llama-3", "mistral", "meta-llama/Llama-3", "meta-llama/Llama-3"),
            ("mistral/openai/gpt-oss", "mistral", "openai/gpt-oss", "mistral/openai/gpt-oss"),
            ("mistral/mistral/x", "mistral", "mistral/x", "mistral/mistral/x"),
            ("openai/openai/x", "openai", "openai/x", "openai/openai/x"),
            ("OpenAI/gpt-5", "mistral", "OpenAI/gpt-5", "OpenAI/gpt-5"),
            ("openai/", "mistral", "openai/", "openai/"),
            ("/x", "mistral", "/x", "/x"),
            ("", "mistral", "", ""),
        ];
        for (model, provider, name, canonical) in rows {
            let (routed, rest) = providers.route(model);
            assert_eq!((routed.name(), rest), (provider, name), "{model}");
            assert_eq!(providers.canonical(&routed, rest), canonical, "{model}");
            let (again, rest) = providers.route(canonical);
            assert_eq!((again.name(), rest), (provider, name), "{canonical}");
        }
        assert_eq!(providers.default().name(), "mistral");
        assert_eq!(providers.iter().map(Provider::name).collect::<Vec<_>>(), ["mistral", "openai", "local"]);
        assert!(providers.get("nobody").is_none());
    }

    #[test]
    fn names_that_can_t_be_told_apart_are_refused() {
        for (names, told) in [
            (vec!["mistral", "mistral"], "two providers"),
            (vec!["a/b"], "slash"),
            (vec![""], "empty"),
            (vec!["openai"], "not configured"),
            (vec![], "not configured"),
        ] {
            let providers = names.iter().map(|name| Provider::never_asked(name)).collect();
            let error = Providers::new("mistral", providers).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_card_is_found_by_its_name_before_an_alias() {
        let card = |id: &str, alias: &str| ModelCard {
            id: id.to_owned(),
            aliases: vec![alias.to_owned()],
            ..ModelCard::default()
        };
        let cards = Cards::new(vec![card("a", "b"), card("b", "c")]);
        let found = |name: &str| cards.by_name.get(name).map(|card| card.id.clone());
        assert_eq!(["a", "b", "c", "d"].map(found), [Some("a".into()), Some("b".into()), Some("b".into()), None]);
    }
}
