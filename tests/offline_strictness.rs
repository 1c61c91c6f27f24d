//! The stand-in refuses what Mistral refuses, in Mistral's words: it is the judge of the requests that we send.

use std::time::Duration;

use causerie::offline::{Offline, Options};
use serde_json::{Value, json};

use crate::support::http::{self, Answer};

async fn start() -> Offline {
    Offline::start_with(Options { pace: Duration::ZERO }).await.expect("a free port")
}

async fn ask(offline: &Offline, body: &Value) -> Answer {
    http::post(&(offline.base_url() + "/v1/chat/completions"), body).await
}

/// A request with these fields added to the smallest one.
fn with(fields: Value) -> Value {
    let mut body = json!({"model": "offline-small", "messages": [{"role": "user", "content": "Hi"}]});
    for (key, value) in fields.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {}}})
}

fn calls(ids: &[&str]) -> Value {
    let calls: Vec<_> = ids.iter().map(|id| json!({"id": id, "function": {"name": "f", "arguments": "{}"}})).collect();
    json!({"role": "assistant", "content": "", "tool_calls": calls})
}

fn result(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "name": "f", "content": "r"})
}

#[tokio::test]
async fn the_edges_of_every_range_are_taken() {
    let offline = start().await;
    for fields in [
        json!({"temperature": 0}),
        json!({"temperature": 1.5}),
        json!({"temperature": null}),
        json!({"top_p": 0.01}),
        json!({"top_p": 1}),
        json!({"max_tokens": 0}),
        json!({"random_seed": 0}),
        json!({"presence_penalty": -2, "frequency_penalty": 2}),
        json!({"n": 1}),
        json!({"stop": null}),
        json!({"stop": ["a", "b"]}),
        json!({"tool_choice": "any", "tools": [tool("f")]}),
        json!({"tools": null}),
        json!({"tools": [{"type": "connector", "connector_id": "c"}]}),
        json!({"tools": vec![tool(&"f".repeat(64)); 128]}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"messages": [{"role": "system", "content": [{"type": "text", "text": "s"}]}, {"role": "user", "content": null}]}),
    ] {
        let answer = ask(&offline, &with(fields.clone())).await;
        assert_eq!(answer.status, 200, "{fields} {}", answer.text);
    }
}

#[tokio::test]
async fn a_wrong_shape_is_422_with_its_place() {
    let offline = start().await;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for (fields, kind, loc) in [
        (json!({"seed": 1}), "extra_forbidden", json!(["body", "seed"])),
        (json!({"stream_options": {}}), "extra_forbidden", json!(["body", "stream_options"])),
        (json!({"max_completion_tokens": 1}), "extra_forbidden", json!(["body", "max_completion_tokens"])),
        (json!({"model": 5}), "string_type", json!(["body", "model"])),
        (json!({"temperature": 1.51}), "less_than_equal", json!(["body", "temperature"])),
        (json!({"temperature": -0.1}), "greater_than_equal", json!(["body", "temperature"])),
        (json!({"temperature": "1"}), "float_type", json!(["body", "temperature"])),
        (json!({"top_p": 0}), "greater_than", json!(["body", "top_p"])),
        (json!({"max_tokens": -1}), "greater_than_equal", json!(["body", "max_tokens"])),
        (json!({"max_tokens": 1.5}), "int_type", json!(["body", "max_tokens"])),
        (json!({"random_seed": -1}), "greater_than_equal", json!(["body", "random_seed"])),
        (json!({"presence_penalty": 2.1}), "less_than_equal", json!(["body", "presence_penalty"])),
        (json!({"frequency_penalty": -2.1}), "greater_than_equal", json!(["body", "frequency_penalty"])),
        (json!({"n": 0}), "greater_than_equal", json!(["body", "n"])),
        (json!({"stream": null}), "bool_type", json!(["body", "stream"])),
        (json!({"stop": [1]}), "string_type", json!(["body", "stop", 0])),
        (json!({"tool_choice": "always"}), "literal_error", json!(["body", "tool_choice"])),
        (json!({"tool_choice": {"type": "function"}}), "missing", json!(["body", "tool_choice", "function"])),
        (json!({"reasoning_effort": "huge"}), "literal_error", json!(["body", "reasoning_effort"])),
        (json!({"response_format": {"type": "xml"}}), "literal_error", json!(["body", "response_format", "type"])),
        (json!({"response_format": {"type": "json_schema"}}), "value_error", json!(["body", "response_format"])),
        (json!({"tools": vec![tool("f"); 129]}), "too_long", json!(["body", "tools"])),
        (json!({"tools": [{"type": "web_search"}]}), "union_tag_invalid", json!(["body", "tools", 0])),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
            "missing",
            json!(["body", "tools", 0, "function", "function", "parameters"]),
        ),
        (json!({"messages": [{"content": "x"}]}), "union_tag_not_found", json!(["body", "messages", 0])),
        (
            json!({"messages": [{"role": "developer", "content": "x"}]}),
            "union_tag_invalid",
            json!(["body", "messages", 0]),
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "id": "msg_1"}]}),
            "extra_forbidden",
            json!(["body", "messages", 0, "user", "id"]),
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]}),
            "extra_forbidden",
            json!(["body", "messages", 0, "assistant", "reasoning_content"]),
        ),
        (
            user(json!([{"type": "tool_file"}])),
            "union_tag_invalid",
            json!(["body", "messages", 0, "user", "content", 0]),
        ),
        (
            user(json!([{"type": "text", "text": "x", "id": 1}])),
            "extra_forbidden",
            json!(["body", "messages", 0, "user", "content", 0, "text", "id"]),
        ),
        (
            json!({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "u"}]}]}),
            "union_tag_invalid",
            json!(["body", "messages", 0, "system", "content", 0]),
        ),
    ] {
        let answer = ask(&offline, &with(fields.clone())).await;
        let detail = &answer.json()["detail"];
        assert_eq!((answer.status, &detail[0]["type"], &detail[0]["loc"]), (422, &json!(kind), &loc), "{fields}");
        assert_eq!(detail.as_array().map(Vec::len), Some(1), "{detail}");
    }
}

#[tokio::test]
async fn all_violations_come_at_once() {
    let offline = start().await;
    let answer = ask(&offline, &json!({"messages": [], "temperature": 9, "seed": 1})).await;
    let kinds: Vec<_> = answer.json()["detail"].as_array().expect("a list").iter().map(|d| d["type"].clone()).collect();
    assert_eq!(kinds, ["missing", "less_than_equal", "extra_forbidden"]);
}

#[tokio::test]
async fn a_wrong_history_is_400_with_its_code() {
    let offline = start().await;
    let (user, system) = (json!({"role": "user", "content": "u"}), json!({"role": "system", "content": "s"}));
    let said = json!({"role": "assistant", "content": "a"});
    let prefix = json!({"role": "assistant", "content": "a", "prefix": true});
    let (id, other) = ("abcDEF123", "abcDEF124");
    for (messages, code) in [
        (json!([]), json!("3230")),
        (json!([said]), json!("3230")),
        (json!([system]), json!("3230")),
        (json!([user, said]), json!("3230")),
        (json!([user, said, system, user]), json!("3230")),
        (json!([user, result(id)]), json!("3230")),
        (json!([user, calls(&[id]), user]), json!("3230")),
        (json!([user, calls(&[id, other]), result(id)]), json!("3230")),
        (json!([user, calls(&[id]), result(other)]), json!("3230")),
        (json!([user, calls(&[id]), result(id), result(id)]), json!("3230")),
        (json!([user, calls(&[id, id]), result(id)]), json!("3280")),
        (json!([user, calls(&["call_123456"]), result("call_123456")]), json!("3280")),
        (json!([user, calls(&["null"]), result("null")]), json!("3280")),
        (json!([user, calls(&[id]), {"role": "tool", "content": "r"}]), json!("3280")),
        (json!([user, {"role": "assistant", "content": ""}, user]), json!(null)),
        (json!([user, prefix, user]), json!(null)),
    ] {
        let answer = ask(&offline, &with(json!({"messages": messages}))).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &code), "{messages} {}", answer.text);
        assert_eq!(answer.json()["object"], "error");
    }
    for messages in [
        json!([system, user, said, user, user]),
        json!([user, calls(&[id, other]), result(other), result(id)]),
        json!([user, calls(&[id]), result(id), user]),
        json!([user, prefix]),
    ] {
        let answer = ask(&offline, &with(json!({"messages": messages}))).await;
        assert_eq!(answer.status, 200, "{messages} {}", answer.text);
    }
}

#[tokio::test]
async fn model_function_names_tokens_and_paths_are_checked() {
    let offline = start().await;
    let unknown = ask(&offline, &with(json!({"model": "mistral-small-latest"}))).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (400, &json!("1500")));
    assert!(unknown.text.contains("offline-reasoning"), "the served names are listed");

    for name in ["", "a b", "é", &"f".repeat(65)] {
        let answer = ask(&offline, &with(json!({"tools": [tool(name)]}))).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("3280")), "{name}");
    }
    let url = offline.base_url();
    let bare = http::client().post(format!("{url}/v1/chat/completions")).body("{}").send().await.expect("an answer");
    let bare = http::read(bare).await;
    assert_eq!((bare.status, bare.json()), (401, json!({"detail": "Unauthorized"})));

    for path in ["/", "/v1/embeddings", "/v1/models"] {
        assert_eq!(http::post(&(url.clone() + path), &json!({})).await.status, 404, "{path}");
    }
    let broken = http::client().post(format!("{url}/v1/chat/completions")).header("authorization", "Bearer t");
    let broken = http::read(broken.body("{\"model\":").send().await.expect("an answer")).await;
    assert_eq!((broken.status, &broken.json()["detail"][0]["type"]), (422, &json!("json_invalid")));
}
