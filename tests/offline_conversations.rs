//! The stand-in's conversations: what they refuse is what Mistral refuses, and what they answer is what our provider code reads.

use std::time::Duration;

use causerie::{
    domain::{
        Chunk, FinishReason, Reason, Settings,
        entry::OutputStatus,
        tool::{Connector, ConnectorKind, Function, Tool},
    },
    offline::{MODELS, Offline, Options},
    upstream::{Form, HostedAgent, Piece, Request},
};
use serde_json::{Value, json};

use crate::support::{
    history::*,
    http::{self, Answer},
    upstream::{provider, read, request, said},
};

async fn start() -> Offline {
    Offline::start_with(Options { pace: Duration::ZERO }).await.expect("a free port")
}

async fn ask(offline: &Offline, body: &Value) -> Answer {
    http::post(&(offline.base_url() + "/v1/conversations"), body).await
}

/// A request with these fields added to the smallest one.
fn with(fields: Value) -> Value {
    let mut body = json!({"model": MODELS[0], "inputs": "Hi", "store": false});
    for (key, value) in fields.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}

fn user_says(text: &str) -> Value {
    json!({"type": "message.input", "role": "user", "content": text})
}

fn called(id: &str) -> Value {
    json!({"type": "function.call", "tool_call_id": id, "name": "f", "arguments": "{}"})
}

fn returned(id: &str) -> Value {
    json!({"type": "function.result", "tool_call_id": id, "result": "r"})
}

#[tokio::test]
async fn what_mistral_refuses_by_its_shape_is_refused() {
    let offline = start().await;
    let rows = [
        (json!({"completion_args": {"temperature": 1.1}}), "temperature"),
        (json!({"completion_args": {"parallel_tool_calls": true}}), "parallel_tool_calls"),
        (json!({"completion_args": {"tool_choice": {"type": "function"}}}), "tool_choice"),
        (json!({"temperature": 1}), "temperature"),
        (json!({"messages": []}), "messages"),
        (json!({"inputs": null}), "inputs"),
        (json!({"inputs": [{"type": "tool.execution", "name": "web_search", "arguments": "{}"}]}), "inputs"),
        (json!({"inputs": [{"type": "message.input", "role": "system", "content": "s"}]}), "role"),
        (
            json!({"inputs": [{"type": "message.output", "content": [{"type": "tool_reference", "tool": "t", "title": "t"}]}]}),
            "content",
        ),
        (json!({"inputs": [{"type": "function.result", "tool_call_id": "aaaaaaaaa", "result": [] }]}), "result"),
        (json!({"tools": [{"type": "document_library"}]}), "library_ids"),
        (json!({"tools": [{"type": "telepathy"}]}), "tools"),
    ];
    for (fields, place) in rows {
        let answer = ask(&offline, &with(fields.clone())).await;
        assert_eq!(answer.status, 422, "{fields}");
        let loc = answer.json()["detail"][0]["loc"].to_string();
        assert!(loc.contains(place), "{fields}: {loc}");
    }
}

#[tokio::test]
async fn what_mistral_refuses_by_its_order_is_refused_in_the_shape_of_conversations() {
    let offline = start().await;
    let rows = [
        (json!({"inputs": [user_says("a"), called("aaaaaaaaa")]}), 3230),
        (json!({"inputs": [user_says("a"), called("aaaaaaaaa"), user_says("b")]}), 3230),
        (json!({"inputs": [user_says("a"), called("too_long_an_id"), returned("too_long_an_id")]}), 3280),
        (json!({"inputs": [user_says("a"), {"type": "message.output", "content": "b"}]}), 3230),
        (json!({"model": "mistral-large-latest"}), 1500),
        (json!({"agent_id": "ag_offline"}), 3001),
        (json!({"model": null}), 3001),
        (json!({"model": null, "agent_id": "ag_offline", "instructions": "Be brief."}), 3001),
    ];
    for (fields, code) in rows {
        let answer = ask(&offline, &with(fields.clone())).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["object"], &body["code"]), (400, &json!("Error"), &json!(code)), "{fields}");
    }
    let unknown = ask(&offline, &with(json!({"model": null, "agent_id": "ag_other"}))).await;
    assert_eq!(unknown.status, 404);
}

fn searching() -> Settings {
    let connector = |kind| {
        let none = Vec::new;
        Tool::Connector(Connector { kind, include: none(), exclude: none(), requires_confirmation: none() })
    };
    let now = Function { name: "now".to_owned(), description: String::new(), parameters: None, strict: false };
    Settings {
        model: MODELS[0].to_owned(),
        tools: vec![
            connector(ConnectorKind::WebSearch),
            connector(ConnectorKind::CodeInterpreter),
            connector(ConnectorKind::ImageGeneration),
            Tool::Function(now),
        ],
        ..Settings::default()
    }
}

async fn pieces(offline: &Offline, settings: &Settings, text: &str, hosted: bool) -> Vec<Piece> {
    let provider = provider(&offline.base_url());
    let entries = history([
        user("Hello"),
        execution("web_search", "{}", "", vec![], OutputStatus::Completed),
        answer("Hello"),
        user(text),
    ]);
    let transcript = provider.encode_for(Form::Conversations, &entries).expect("text");
    let hosted = hosted.then_some(HostedAgent { version: None });
    let mut both = Vec::new();
    for stream in [true, false] {
        let request = Request { stream, hosted, ..request(settings, &transcript) };
        let (pieces, fault) = read(provider.complete(request).await.expect("an answer")).await;
        assert_eq!(fault, None, "{text}");
        both.push(pieces);
    }
    let whole = both.pop().expect("two answers");
    assert_eq!(said(&both[0]), said(&whole));
    let others = |pieces: &[Piece]| -> Vec<String> {
        // Ids differ, as the requests do; texts come in other pieces.
        let others = pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_)));
        others.map(|piece| format!("{piece:?}")).collect()
    };
    assert_eq!(others(&both[0]), others(&whole));
    both.remove(0)
}

#[tokio::test]
async fn tools_run_when_they_are_named_and_are_counted() {
    let offline = start().await;
    let found =
        pieces(&offline, &searching(), "web_search Rome, then code_interpreter and image_generation", false).await;
    let run =
        |name: &str| found.iter().any(|piece| matches!(piece, Piece::ToolStarted { name: found, .. } if found == name));
    assert!(run("web_search") && run("code_interpreter") && run("image_generation"), "{found:?}");
    assert!(found.iter().any(|piece| matches!(piece, Piece::Chunk(Chunk::ToolReference { .. }))));
    assert!(found.iter().any(|piece| matches!(piece, Piece::Chunk(Chunk::ToolFile { .. }))));
    assert!(said(&found).contains("message 5 of this conversation"), "{}", said(&found));
    let Some(Piece::Usage(usage)) = found.last() else { panic!("{found:?} ends without usage") };
    assert_eq!(usage.connector_calls.values().sum::<u64>(), 3);
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens + usage.connector_tokens);
    assert!(found.contains(&Piece::Finish(FinishReason::Stop)));
}

#[tokio::test]
async fn nothing_runs_that_is_not_named_and_functions_are_the_caller_s() {
    let offline = start().await;
    let found = pieces(&offline, &searching(), "Hello again", false).await;
    assert!(!found.iter().any(|piece| matches!(piece, Piece::ToolStarted { .. })), "{found:?}");
    let found = pieces(&offline, &searching(), "What time is it now ?", false).await;
    assert!(found.iter().any(|piece| matches!(piece, Piece::Call { name: Some(name), .. } if name == "now")));
    assert!(found.contains(&Piece::Finish(FinishReason::ToolCalls)));
}

#[tokio::test]
async fn its_agent_can_be_asked_and_no_other() {
    let offline = start().await;
    let agent = |id: &str| Settings { model: id.to_owned(), ..Settings::default() };
    let found = pieces(&offline, &agent("ag_offline"), "web_search Rome", true).await;
    assert!(found.iter().any(|piece| matches!(piece, Piece::ToolDone { .. })), "{found:?}");

    let (provider, settings) = (provider(&offline.base_url()), agent("ag_other"));
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let hosted = Some(HostedAgent { version: None });
    let fault = provider.complete(Request { hosted, ..request(&settings, &transcript) }).await.expect_err("no agent");
    assert_eq!(fault.failure.reason, Reason::AgentNotFound);
}

#[tokio::test]
async fn directives_break_conversations_too() {
    let offline = start().await;
    let provider = provider(&offline.base_url());
    let settings = searching();
    for (directive, streamed) in [("cut 3", true), ("garbage", true), ("cut 3", false), ("garbage", false)] {
        let entries = history([user(&format!("/offline {directive}\nHello"))]);
        let transcript = provider.encode_for(Form::Conversations, &entries).expect("text");
        let request = Request { stream: streamed, ..request(&settings, &transcript) };
        let (_, fault) = read(provider.complete(request).await.expect("a head")).await;
        assert_eq!(fault.expect(directive).failure.reason, Reason::UpstreamProtocolError);
    }
}
