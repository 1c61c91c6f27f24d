//! Mistral's own tools and agents: who may stand in, whose secrets are sent where, and what can't be asked of them.

use std::fs;

use causerie::proto::{self, ErrorReason, stream_events_request::Request, turn::State};
use serde_json::json;
use tempfile::TempDir;

use super::{
    hosted::{conversation, ended, says, web_search},
    stream, with_tools,
};
use crate::support::{
    completion::stream_of,
    provider::{Reply, ScriptedProvider},
    refusal::fields,
    server::{Client, TestServer, append, start, text_of},
    status::reason_of,
};

const TOKEN: &str = "token-of-the-wiki-5f3a";

fn answer(text: &str) -> Reply {
    conversation(&[says("msg_a", json!(text)), ended()])
}

fn hosted() -> proto::StartRequest {
    proto::StartRequest { model: String::new(), agent_id: "ag_front".to_owned(), ..start("Hello") }
}

#[tokio::test]
async fn who_cannot_do_it_does_not_stand_in() {
    let other = ScriptedProvider::start().await;
    other.on_every(stream_of(&["I guess."], "stop"));
    let second = ScriptedProvider::start().await;
    second.on_every(answer("I have searched."));
    let file = format!(
        "fallback_models = [\"other/model\"]\n\
         [providers.other]\ndialect = \"openai\"\nbase_url = \"{}\"\nkey_header = \"none\"\n\
         [providers.second]\ndialect = \"mistral\"\nbase_url = \"{}\"\nkey_header = \"none\"\n",
        other.base_url(),
        second.base_url()
    );
    let server = TestServer::configured(&file, &[]).await;
    let client = server.client().await;
    server.provider.on_every(Reply::plain(503, "text/plain", "closed"));
    let search = || with_tools("Search", vec![web_search()]);
    let failed = client.clone().start(search()).await.expect_err("nobody can");
    assert_eq!(reason_of(&failed), ErrorReason::ServiceUnavailable.as_str_name(), "{failed:?}");
    assert!(failed.message().contains("other/model could not stand in"), "{failed:?}");
    assert!(failed.message().contains("only Mistral has"), "{failed:?}");
    // Nobody else has an agent of Mistral's.
    let failed = client.clone().start(hosted()).await.expect_err("nobody can");
    assert_eq!(reason_of(&failed), ErrorReason::ServiceUnavailable.as_str_name());
    assert!(!failed.message().contains("stand in"), "{failed:?}");
    assert!(other.requests().is_empty(), "an answer without the search would be another one than was asked for");
    // Another provider of Mistral's dialect can.

    let fallback_models = vec!["other/model".to_owned(), "second/model".to_owned()];
    let forwarding = Some(proto::Forwarding { fallback_models, ..Default::default() });
    let seen = stream(&client, Request::Start(proto::StartRequest { forwarding, ..search() })).await;
    assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Completed, "I have searched."));
    server.stop().await;
}

/// A connector that is let in with a secret of the configuration.
fn wiki() -> proto::Tool {
    let connector = proto::CustomConnectorTool {
        connector_id: "wiki".to_owned(),
        authorization_type: "api-key".to_owned(),
        authorization_secret: "wiki".to_owned(),
        ..Default::default()
    };
    proto::Tool { kind: Some(proto::tool::Kind::Connector(connector)) }
}

/// A turn with the connector at a provider at this address, where the secret is for these hosts.
async fn asks_the_wiki(
    second: &ScriptedProvider,
    hosts: &str,
) -> (TestServer, Client, Result<proto::Turn, tonic::Status>) {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, TOKEN).expect("a writable folder");
    let file = format!(
        "[tools.secrets.wiki]\nvalue_file = {token:?}\nhosts = [{hosts:?}]\n\
         [providers.second]\ndialect = \"mistral\"\nbase_url = \"{}\"\nkey_header = \"none\"\n",
        second.base_url()
    );
    let server = TestServer::configured(&file, &[]).await;
    let client = server.client().await;
    let start = proto::StartRequest { model: "second/model".to_owned(), ..with_tools("Ask it", vec![wiki()]) };
    let turn = client.clone().start(start).await.map(tonic::Response::into_inner);
    (server, client, turn)
}

#[tokio::test]
async fn a_connector_s_secret_goes_to_the_hosts_it_is_for() {
    let second = ScriptedProvider::start().await;
    let whole = json!({"outputs": [{"type": "message.output", "id": "msg_a", "content": "I asked."}], "usage": {}});
    second.on_every(Reply::json(200, &whole));
    let place = second.base_url().replace("http://", "");
    let (server, mut client, turn) = asks_the_wiki(&second, &place).await;
    let turn = turn.expect("it may be sent there");
    assert_eq!(text_of(&turn), "I asked.");
    let sent = &second.requests()[0].json["tools"][0];
    assert_eq!(sent["authorization"], json!({"type": "api-key", "value": TOKEN}));
    // It is shown to nobody.
    let version = proto::GetConversationRequest { conversation_id: turn.conversation_id.clone() };
    let version = client.get_conversation(version).await.expect("a version").into_inner();
    assert!(!format!("{version:?}{turn:?}").contains(TOKEN));
    // The provider of the conversation's next model is another one.
    let elsewhere =
        proto::AppendRequest { model: "scripted-model".to_owned(), ..append(&turn.conversation_id, "And?") };
    let refused = client.append(elsewhere).await;
    assert!(refused.is_err(), "{refused:?}");
    server.stop().await;

    let port = place.rsplit_once(':').expect("a port").1;
    // A host without a port is one of http's and https's own, as for HTTP tools.
    for hosts in
        ["api.example.com".to_owned(), format!("api.example.com:{port}"), "127.0.0.1:1".into(), "127.0.0.1".into()]
    {
        let before = second.requests().len();
        let (server, _, refused) = asks_the_wiki(&second, &hosts).await;
        let refused = refused.expect_err("it is not for this provider");
        assert_eq!(reason_of(&refused), ErrorReason::InvalidRequest.as_str_name());
        assert_eq!(fields(&refused), ["tools[0].connector.authorization_secret"], "{hosts}");
        let text = format!("{refused:?}");
        assert!(text.contains("tools.secrets.wiki.hosts") && !text.contains(TOKEN), "{text}");
        assert_eq!(second.requests().len(), before, "nothing was sent");
        server.stop().await;
    }
}

#[tokio::test]
async fn what_mistral_keeps_with_its_agent_cannot_be_set_beside_it() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let instructed = proto::StartRequest { instructions: "Be kind.".to_owned(), ..hosted() };
    let refused = client.clone().start(instructed).await.expect_err("it has its own");
    assert_eq!(fields(&refused), ["instructions"]);
    let equipped = proto::StartRequest { tools: vec![web_search()], ..hosted() };
    let refused = client.clone().start(equipped).await.expect_err("it has its own");
    assert_eq!(fields(&refused), ["tools"]);
    assert!(server.provider.requests().is_empty());

    // Nor can Mistral ask for consent: it would keep the conversation there.
    let pending = json!({"type": "function.call.delta", "id": "call_a", "tool_call_id": "AbCdEfGh1", "name": "delete",
        "arguments": "{}", "confirmation_status": "pending"});
    server.provider.reply(conversation(&[pending]));
    let seen = stream(&client, Request::Start(hosted())).await;
    assert_eq!(reason_of(seen.error()), ErrorReason::InvalidRequest.as_str_name());
    assert!(seen.error().message().contains("requires_confirmation"), "{:?}", seen.error());
    server.stop().await;
}

#[tokio::test]
async fn a_turn_without_a_trace_leaves_none_at_mistral_either() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(answer("Seen and forgotten."));
    let request = proto::StartRequest { store: Some(false), ..with_tools("Search", vec![web_search()]) };
    let seen = stream(&client, Request::Start(request)).await;
    assert_eq!((seen.turn().state(), seen.turn().conversation_id.as_str()), (State::Completed, ""));
    assert_eq!(server.provider.requests()[0].json["store"], false);
    server.stop().await;
}
