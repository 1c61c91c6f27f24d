//! `ListModels`: what is configured, and what the providers say of it.

use causerie::proto::{
    ListModelsRequest, ListModelsResponse, Model, ModelPrice, Money, Provider, model_service_client::ModelServiceClient,
};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{
    provider::{Reply, ScriptedProvider},
    refusal::{fields, told},
    server::TestServer,
};

async fn list(server: &TestServer, provider: &str) -> Result<ListModelsResponse, Status> {
    let mut client = ModelServiceClient::new(server.channel().await);
    let request = ListModelsRequest { provider: provider.to_owned() };
    client.list_models(request).await.map(tonic::Response::into_inner)
}

/// As `api.mistral.ai/v1/models` answers: an alias is a card of its own.
fn mistral_s() -> Value {
    let card = |id: &str, alias: &str| {
        json!({
            "id": id, "object": "model", "created": 1, "owned_by": "mistralai",
            "capabilities": {"completion_chat": true, "function_calling": true, "vision": false},
            "name": "mistral-small-2603", "description": "d", "max_context_length": 131_072, "aliases": [alias],
            "deprecation": null, "deprecation_replacement_model": null, "default_model_temperature": 0.3, "type": "base",
        })
    };
    let mut old = card("mistral-medium-2508", "m");
    old["deprecation"] = json!("2026-08-31T12:00:00Z");
    old["deprecation_replacement_model"] = json!("mistral-medium-latest");
    let data =
        [card("mistral-small-latest", "mistral-small-2603"), card("mistral-small-2603", "mistral-small-latest"), old];
    json!({"object": "list", "data": data})
}

/// As `api.openai.com/v1/models` answers.
fn openai_s() -> Value {
    let card = |id: &str| json!({"id": id, "object": "model", "created": 1, "owned_by": "system"});
    json!({"object": "list", "data": [card("gpt-4.1-mini"), card("text-embedding-3-small")]})
}

fn dollars(units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: "USD".to_owned(), units, nanos, picos: 0 })
}

#[tokio::test]
async fn all_providers_models_are_listed_with_what_is_known_of_them() {
    let openai = ScriptedProvider::start().await;
    let file = format!(
        "fallback_models = [\"mistral-small-latest\"]\n[providers.openai]\nbase_url = \"{}/v1\"\nkey_header = \"none\"\n\
         [providers.openai.models.\"gpt-4.1-mini\"]\ncontext_tokens = 1047576\ninput_price = \"0.40\"\n\
         output_price = \"1.6\"\nconnector_prices = {{ web_search = \"0.03\" }}\n\
         [providers.openai.models.not-listed]\nfallback_models = [\"openai/gpt-4.1-mini\"]\n",
        openai.base_url()
    );
    let server = TestServer::configured(&file, &[]).await;
    server.provider.on_every(Reply::json(200, &mistral_s()));
    openai.on_every(Reply::json(200, &openai_s()));

    let ListModelsResponse { providers, models } = list(&server, "").await.expect("a list");
    let provider = |name: &str, is_default, dialect: &str| Provider {
        name: name.to_owned(),
        is_default,
        dialect: dialect.to_owned(),
        error: String::new(),
    };
    assert_eq!(providers, [provider("mistral", true, "mistral"), provider("openai", false, "openai")]);

    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let expected = [
        "mistral-medium-2508",
        "mistral-small-2603",
        "mistral-small-latest",
        "openai/gpt-4.1-mini",
        "openai/not-listed",
        "openai/text-embedding-3-small",
    ];
    assert_eq!(names, expected);
    let small = Model {
        name: "mistral-small-latest".to_owned(),
        provider: "mistral".to_owned(),
        aliases: vec!["mistral-small-2603".to_owned()],
        // The table's: the provider's word only counts where the table says nothing.
        // The provider knows better than the built-in table.
        context_tokens: 131_072,
        capabilities: vec!["completion_chat".to_owned(), "function_calling".to_owned()],
        deprecated_at: String::new(),
        replacement: String::new(),
        price: Some(ModelPrice {
            input_per_million: dollars(0, 150_000_000),
            cached_input_per_million: dollars(0, 15_000_000),
            output_per_million: dollars(0, 600_000_000),
            per_connector_call: [
                ("web_search".to_owned(), dollars(0, 30_000_000).expect("money")),
                ("web_search_premium".to_owned(), dollars(0, 50_000_000).expect("money")),
            ]
            .into(),
            read_on: "2026-08-13".to_owned(),
            provisional: false,
        }),
        // It stands in for others, not for itself.
        fallback_models: Vec::new(),
        default_temperature: Some(0.3),
    };
    assert_eq!(models[2], small);
    assert_eq!(models[0].deprecated_at, "2026-08-31T12:00:00Z", "the provider's word is the more exact one");
    assert_eq!(models[0].replacement, "mistral-medium-latest");
    assert_eq!((models[0].price.as_ref(), models[0].context_tokens), (None, 131_072), "what it cost was not read");

    let mini = &models[3];
    let price = mini.price.clone().expect("as configured");
    assert_eq!((mini.provider.as_str(), mini.context_tokens), ("openai", 1_047_576));
    assert_eq!((price.input_per_million, price.output_per_million), (dollars(0, 400_000_000), dollars(1, 600_000_000)));
    assert_eq!(price.cached_input_per_million, dollars(0, 400_000_000), "as other input");
    assert_eq!((price.per_connector_call.len(), price.read_on.as_str()), (1, "configuration"));
    assert_eq!(mini.fallback_models, ["mistral-small-latest"]);
    assert_eq!(models[4].fallback_models, ["openai/gpt-4.1-mini"]);
    let unknown = &models[5];
    assert_eq!((unknown.context_tokens, unknown.price.as_ref(), unknown.default_temperature), (0, None, None));

    // The lists are kept: asked again, nobody is asked.
    let (before, of_one) = (openai.requests().len(), list(&server, "openai").await.expect("a list"));
    assert_eq!((before, openai.requests().len()), (1, 1));
    assert_eq!((of_one.providers.len(), of_one.models.len()), (1, 3));
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_listed_with_the_error() {
    let file = "[providers.mistral.models.configured]\ncontext_tokens = 1000\n";
    let server = TestServer::configured(file, &[]).await;
    server.provider.on_every(Reply::hang_up());
    let ListModelsResponse { providers, models } = list(&server, "").await.expect("a list all the same");
    assert!(providers[0].error.contains("mistral"), "{providers:?}");
    assert_eq!(models.iter().map(|model| &*model.name).collect::<Vec<_>>(), ["configured"]);
    assert_eq!(models[0].context_tokens, 1000);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_provider_is_refused_with_the_names_that_there_are() {
    let server = TestServer::start().await;
    let status = list(&server, "anthropic").await.expect_err("there is none of that name");
    assert_eq!(told(&status), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    assert_eq!(fields(&status), ["provider"]);
    assert!(status.message().contains("there are: mistral"), "{}", status.message());
    assert!(server.provider.requests().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_know_the_service() {
    const NAME: &str = "causerie.v1.ModelService";
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let answer = health.check(HealthCheckRequest { service: NAME.to_owned() }).await.expect("it is known");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);

    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let asked = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(asked)).await.expect("it is on").into_inner();
    let answer = answers.message().await.expect("no error").expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("a list of services: {answer:?}") };
    assert!(list.service.iter().any(|service| service.name == NAME), "{list:?}");
    server.stop().await;
}
