//! Models and their providers.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::{number, spend};
use crate::{
    domain::Money,
    engine::{Dialect, ListedModel, ListedProvider, ModelCard, Price},
    proto,
};

/// Whose models ListModels lists; `None`: everybody's.
pub fn list_models(request: proto::ListModelsRequest) -> Option<String> {
    let proto::ListModelsRequest { provider } = request;
    Some(provider).filter(|provider| !provider.is_empty())
}

/// A provider as the wire has it.
pub fn write_provider(provider: ListedProvider) -> proto::Provider {
    let ListedProvider { name, is_default, dialect, failure } = provider;
    let dialect = match dialect {
        Dialect::Mistral => "mistral",
        Dialect::OpenAi => "openai",
    };
    let error = failure.map(|failure| failure.message).unwrap_or_default();
    proto::Provider { name, is_default, dialect: dialect.to_owned(), error }
}

/// A model as the wire has it.
pub fn write(model: ListedModel) -> proto::Model {
    let ListedModel { name, provider, context_tokens, price, retires_on, fallback_models, card } = model;
    let ModelCard { id: _, aliases, context_tokens: _, capabilities, deprecated_at, replacement, default_temperature } =
        card.map(Arc::unwrap_or_clone).unwrap_or_default();
    proto::Model {
        name,
        provider,
        aliases,
        context_tokens: context_tokens.map(number::write).unwrap_or_default(),
        capabilities,
        deprecated_at: deprecated_at.or(retires_on.map(str::to_owned)).unwrap_or_default(),
        replacement: replacement.unwrap_or_default(),
        price: price.map(write_price),
        fallback_models,
        default_temperature,
    }
}

fn write_price(price: Price) -> proto::ModelPrice {
    let Price { input, cached_input, output, connectors, read_on, provisional } = price;
    proto::ModelPrice {
        input_per_million: write_amount(input),
        cached_input_per_million: write_amount(cached_input),
        output_per_million: write_amount(output),
        per_connector_call: connectors
            .into_iter()
            .filter_map(|(tool, amount)| Some((tool, write_amount(amount)?)))
            .collect(),
        read_on: read_on.into_owned(),
        provisional,
    }
}

/// `None` beyond 10¹⁶ dollars, which no price is.
fn write_amount(amount: Decimal) -> Option<proto::Money> {
    Money::from_decimal(amount).map(spend::write_money)
}
