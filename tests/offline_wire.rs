//! What the stand-in answers, on the wire: with and without a stream, and when it is asked for trouble.

use std::time::{Duration, Instant};

use causerie::offline::{DIRECTIVES, MODELS, Offline, Options};
use serde_json::{Value, json};

use crate::support::http::{self, Answer};

async fn start() -> Offline {
    Offline::start_with(Options { pace: Duration::ZERO }).await.expect("a free port")
}

async fn ask(offline: &Offline, body: &Value) -> Answer {
    http::post(&(offline.base_url() + "/v1/chat/completions"), body).await
}

fn said(text: &str) -> Value {
    json!({"model": "offline-small", "messages": [{"role": "user", "content": text}]})
}

fn and(mut body: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}

/// What both forms of an answer say: text, calls and finish reason of the first choice, and the usage.
#[derive(Debug, PartialEq)]
struct Said {
    text: String,
    thinking: String,
    calls: Vec<(String, String, String)>,
    finish: String,
    usage: Value,
}

fn text_of(content: &Value, kind: &str) -> String {
    match content {
        Value::String(text) if kind == "text" => text.clone(),
        Value::Array(chunks) => chunks
            .iter()
            .filter(|chunk| chunk["type"] == kind)
            .map(|chunk| chunk["text"].as_str().or(chunk["thinking"][0]["text"].as_str()).unwrap_or_default())
            .collect(),
        _ => String::new(),
    }
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn whole(answer: &Answer) -> Said {
    let body = answer.json();
    let (choice, message) = (&body["choices"][0], &body["choices"][0]["message"]);
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    Said {
        text: text_of(&message["content"], "text"),
        thinking: text_of(&message["content"], "thinking"),
        calls: calls
            .map(|c| (owned(&c["id"]), owned(&c["function"]["name"]), owned(&c["function"]["arguments"])))
            .collect(),
        finish: owned(&choice["finish_reason"]),
        usage: body["usage"].clone(),
    }
}

fn gathered(answer: &Answer) -> Said {
    let mut said =
        Said { text: String::new(), thinking: String::new(), calls: vec![], finish: String::new(), usage: json!(null) };
    for event in answer.events() {
        assert!(event["p"].is_string() && event["object"] == "chat.completion.chunk", "{event}");
        let (choice, delta) = (&event["choices"][0], &event["choices"][0]["delta"]);
        said.text += &text_of(&delta["content"], "text");
        said.thinking += &text_of(&delta["content"], "thinking");
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().expect("an index") as usize;
            if index == said.calls.len() {
                said.calls.push((owned(&piece["id"]), String::new(), String::new()));
            }
            said.calls[index].1 += &owned(&piece["function"]["name"]);
            said.calls[index].2 += &owned(&piece["function"]["arguments"]);
        }
        said.finish += choice["finish_reason"].as_str().unwrap_or_default();
        said.usage = event["usage"].clone();
    }
    assert!(answer.is_done());
    said
}

/// The answer without a stream, after checking that the stream says the same.
async fn both_ways(offline: &Offline, body: &Value) -> Said {
    let answer = ask(offline, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let streamed = gathered(&ask(offline, &and(body.clone(), json!({"stream": true}))).await);
    let mut whole = whole(&answer);
    // Ids are drawn from the request's bytes, and `stream` is one of them.
    for (call, other) in whole.calls.iter_mut().zip(&streamed.calls) {
        assert!(call.0.len() == 9 && other.0.len() == 9);
        call.0.clone_from(&other.0);
    }
    assert_eq!(whole, streamed);
    whole
}

#[tokio::test]
async fn it_repeats_what_it_heard_and_counts_the_history() {
    let offline = start().await;
    let history = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"}, {"role": "assistant", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "Two"}, {"type": "image_url", "image_url": "u"}]},
    ]);
    for (body, text) in [
        (said("Hello"), r#"[offline] You said: "Hello". (message 1 of this conversation)"#),
        (
            and(said(""), json!({"messages": history})),
            r#"[offline] You said: "Two" with image_url. (message 3 of this conversation, instructions: "Be brief.")"#,
        ),
    ] {
        let answer = both_ways(&offline, &body).await;
        assert_eq!((answer.text.as_str(), answer.finish.as_str()), (text, "stop"));
        assert_eq!(
            ask(&offline, &body).await.text,
            ask(&offline, &body).await.text,
            "the same request, the same bytes"
        );
    }
}

#[tokio::test]
async fn a_prefix_is_echoed_and_limits_hold() {
    let offline = start().await;
    let prefixed =
        json!([{"role": "user", "content": "Go"}, {"role": "assistant", "content": "Dear  Ada,\n", "prefix": true}]);
    for (fields, text, finish) in [
        (
            json!({"messages": prefixed}),
            "Dear  Ada,\n [offline] I went on from there. You said: \"Go\". (message 2 of this conversation)",
            "stop",
        ),
        (json!({"messages": prefixed, "max_tokens": 2}), "Dear  Ada,\n [offline] I", "length"),
        (json!({"max_tokens": 3}), "[offline] You said:", "length"),
        (json!({"max_tokens": 0}), "", "length"),
        (json!({"max_tokens": 99}), r#"[offline] You said: "Go". (message 1 of this conversation)"#, "stop"),
        (json!({"stop": "said"}), "[offline] You ", "stop"),
        (json!({"stop": ["zzz", ". (", "You"]}), "[offline] ", "stop"),
    ] {
        let answer = both_ways(&offline, &and(said("Go"), fields.clone())).await;
        assert_eq!((answer.text.as_str(), answer.finish.as_str()), (text, finish), "{fields}");
    }
    let two = ask(&offline, &and(said("Go"), json!({"n": 2}))).await.json();
    assert!(two["choices"][1]["message"]["content"].as_str().expect("text").ends_with("(choice 2)"));
    let events = ask(&offline, &and(said("Go"), json!({"n": 2, "stream": true}))).await.events();
    assert_eq!(events.iter().filter(|e| e["choices"][0]["index"] == 1).count() * 2, events.len() + 2);
}

#[tokio::test]
async fn functions_that_are_named_are_called() {
    let offline = start().await;
    let tools = json!([
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}},
        {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object",
            "properties": {"zone": {"enum": ["UTC"]}, "exact": {"type": "boolean"}, "list": {"type": "array", "items": {"type": "number"}}}}}},
    ]);
    let (weather, time) =
        (("get_weather", r#"{"city":"offline city"}"#), ("get_time", r#"{"zone":"UTC","exact":true,"list":[1.5]}"#));
    let named = json!({"type": "function", "function": {"name": "get_time"}});
    for (text, fields, expected) in [
        ("Hello", json!({}), vec![]),
        ("get_time_zone", json!({}), vec![]),
        ("get_time, then get_weather", json!({}), vec![time, weather]),
        ("get_time, then get_weather", json!({"parallel_tool_calls": false}), vec![time]),
        ("get_time", json!({"tool_choice": "none"}), vec![]),
        ("Hello", json!({"tool_choice": "any"}), vec![weather]),
        ("get_time", json!({"tool_choice": "required"}), vec![time]),
        ("get_weather", json!({"tool_choice": named}), vec![time]),
        (r#"get_weather {"city": "Rome"} get_time"#, json!({}), vec![("get_weather", r#"{"city":"Rome"}"#), time]),
    ] {
        for model in MODELS {
            let body = and(and(said(text), json!({"tools": tools, "model": model})), fields.clone());
            let answer = both_ways(&offline, &body).await;
            let calls: Vec<_> = answer.calls.iter().map(|(_, name, args)| (name.as_str(), args.as_str())).collect();
            assert_eq!(calls, expected, "{text} {fields}");
            assert_eq!(answer.finish, if expected.is_empty() { "stop" } else { "tool_calls" });
        }
    }
}

#[tokio::test]
async fn tool_results_are_quoted() {
    let offline = start().await;
    let call = json!({"id": "abcDEF123", "function": {"name": "f", "arguments": {}}});
    let messages = json!([
        {"role": "user", "content": "f"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcDEF123", "name": "f", "content": "21 degrees"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let answer = both_ways(&offline, &and(said(""), json!({"messages": messages, "tools": tools}))).await;
    assert_eq!(answer.text, r#"[offline] The tools answered. f: "21 degrees"."#);
}

#[tokio::test]
async fn documents_fit_their_schema() {
    let offline = start().await;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["n", "tags"],
        "properties": {"n": {"type": "integer", "minimum": 4}, "tags": {"type": "array", "items": {"type": "string"}}}});
    let form = json!({"type": "json_schema", "json_schema": {"name": "made", "schema": schema, "strict": true}});
    let answer = both_ways(&offline, &and(said("Hi"), json!({"response_format": form}))).await;
    let made: Value = serde_json::from_str(&answer.text).expect("JSON");
    assert!(jsonschema::is_valid(&schema, &made), "{made}");

    let answer = both_ways(&offline, &and(said("Hi"), json!({"response_format": {"type": "json_object"}}))).await;
    assert_eq!(answer.text, r#"{"offline":true,"you_said":"Hi"}"#);
}

#[tokio::test]
async fn thoughts_come_first() {
    let offline = start().await;
    let reasoning = json!({"model": "offline-reasoning"});
    for (text, fields, thinks) in [
        ("Hi", reasoning.clone(), true),
        ("Hi", and(reasoning, json!({"reasoning_effort": "none"})), false),
        ("/offline think\nHi", json!({}), true),
        ("Hi", json!({}), false),
    ] {
        let answer = both_ways(&offline, &and(said(text), fields.clone())).await;
        assert_eq!(!answer.thinking.is_empty(), thinks, "{text} {fields}");
        assert!(answer.text.starts_with("[offline] You said: \"Hi\""), "{}", answer.text);
    }
}

#[tokio::test]
async fn every_error_can_be_asked_for() {
    let offline = start().await;
    for (text, status, part) in [
        ("400", 400, "\"1500\""),
        ("400 order", 400, "\"3230\""),
        ("400 call", 400, "\"3280\""),
        ("400 context", 400, "maximum context length"),
        ("401", 401, "detail"),
        ("401 gateway", 401, "request_id"),
        ("402", 402, "credits"),
        ("403", 403, "guardrails"),
        ("403 guardrail_error", 403, "3201"),
        ("403 tier", 403, "subscription"),
        ("404", 404, "Not Found"),
        ("404 gateway", 404, "no Route"),
        ("404 model", 404, "3040"),
        ("408", 408, "timed out"),
        ("422", 422, "{\"detail\":["),
        ("422 wrapped", 422, "\"message\":{\"detail\":["),
        ("422 context", 422, "model_context_exceeded"),
        ("429", 429, "\"1300\""),
        ("429 capacity 1", 429, "3505"),
        ("429 gateway", 429, "{\"message\":\"Requests rate limit exceeded\"}"),
        ("500", 500, "3000"),
        ("500 text", 500, "Internal Server Error"),
        ("502", 502, "<html>"),
        ("503", 503, "upstream connect error"),
        ("504", 504, "upstream request timeout"),
        ("599", 599, "599"),
    ] {
        for stream in [false, true] {
            let body = and(said(&format!("/offline error {text}")), json!({"stream": stream}));
            let answer = ask(&offline, &body).await;
            assert_eq!(answer.status, status, "{text}");
            assert!(answer.text.contains(part), "{text}: {}", answer.text);
            assert_eq!(answer.headers.contains_key("retry-after"), text.ends_with(" 1"), "{text}");
            assert!(answer.headers.contains_key("mistral-correlation-id"));
        }
    }
}

#[tokio::test]
async fn calls_are_made_one_in_each_round_until_none_is_left() {
    let offline = start().await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let text = "/offline call f {\"n\": 7}\n/offline call f\nf is not called for being named here";
    let mut body = and(said(text), json!({"tools": tools}));
    for (arguments, result) in [("{\"n\":7}", "one"), ("{\"n\":1}", "two")] {
        let answer = both_ways(&offline, &body).await;
        let [(id, name, written)] = answer.calls.as_slice() else { panic!("{answer:?}") };
        assert_eq!((name.as_str(), written.as_str(), answer.finish.as_str()), ("f", arguments, "tool_calls"));
        let call = json!({"id": id, "function": {"name": name, "arguments": written}});
        let messages = body["messages"].as_array_mut().expect("messages");
        messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "name": name, "content": result}));
    }
    let answer = both_ways(&offline, &body).await;
    assert_eq!((answer.text.as_str(), answer.calls.len()), ("[offline] The tools answered. f: \"two\".", 0));
    let none = and(said("/offline call f\nHi"), json!({"tools": body["tools"], "tool_choice": "none"}));
    assert_eq!(both_ways(&offline, &none).await.calls.len(), 0);
}

#[tokio::test]
async fn answers_can_be_long_late_short_and_broken() {
    let offline = start().await;
    assert_eq!(both_ways(&offline, &said("/offline words 3")).await.text, "word1 word2 word3");
    assert_eq!(both_ways(&offline, &said("/offline finish model_length\nHi")).await.finish, "model_length");
    let help = both_ways(&offline, &said("/offline dance")).await.text;
    assert!(DIRECTIVES.iter().all(|directive| help.contains(directive)), "{help}");

    let begin = Instant::now();
    ask(&offline, &said("/offline delay 40")).await;
    ask(&offline, &and(said("/offline pace 10\n/offline words 2"), json!({"stream": true}))).await;
    assert!(begin.elapsed() >= Duration::from_millis(40 + 4 * 10));

    let cut = ask(&offline, &and(said("/offline cut 2\nHi"), json!({"stream": true}))).await;
    assert_eq!((cut.broken, cut.events().len(), cut.is_done()), (true, 2, false));
    let cut = ask(&offline, &said("/offline cut 1\nHi")).await;
    assert!(cut.broken && serde_json::from_str::<Value>(&cut.text).is_err() && !cut.text.is_empty());
    let garbage = ask(&offline, &and(said("/offline garbage\nHi"), json!({"stream": true}))).await;
    let events: Vec<_> = garbage.text.split("\n\n").collect();
    assert!(serde_json::from_str::<Value>(&events[1]["data: ".len()..]).is_err() && garbage.is_done());
    let garbage = ask(&offline, &said("/offline garbage\nHi")).await;
    assert!(!garbage.broken && serde_json::from_str::<Value>(&garbage.text).is_err());
}

#[tokio::test]
async fn a_stalled_answer_ends_only_with_the_stand_in() {
    let offline = start().await;
    let url = offline.base_url() + "/v1/chat/completions";
    let body = and(said("/offline stall\n/offline words 2"), json!({"stream": true})).to_string();
    let request = http::client().post(&url).header("authorization", "Bearer test").body(body);
    let mut stream = request.send().await.expect("the headers");
    let mut seen = String::new();
    while !seen.contains("word2") {
        let chunk = stream.chunk().await.expect("no error").expect("no end");
        seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
    let stopped = tokio::spawn(offline.stop());
    let rest = http::read(stream).await;
    assert!(rest.broken && !seen.contains("[DONE]") && rest.text.is_empty(), "{}", rest.text);
    stopped.await.expect("no panic").expect("all connections end");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let offline = start().await;
    let client = http::client();
    let list = client.get(offline.base_url() + "/v1/models").header("authorization", "Bearer t");
    assert_eq!(http::read(list.send().await.expect("an answer")).await.status, 200);
    let begin = Instant::now();
    offline.stop().await.expect("all connections end");
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn usage_headers_and_model_cards_are_there() {
    let offline = start().await;
    let long = vec!["word"; 200].join(" ");
    let messages = json!([{"role": "user", "content": long}, {"role": "user", "content": "Hi"}]);
    let body = and(said(""), json!({"messages": messages, "prompt_cache_key": "k"}));
    let answer = ask(&offline, &body).await;
    let usage = &answer.json()["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(203), &json!(9), &json!(212))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 192);
    for (name, value) in [("x-ratelimit-tokens-query-cost", "212"), ("x-ratelimit-limit-req-minute", "600")] {
        assert_eq!(answer.headers[name], value);
    }
    assert_eq!(answer.headers["mistral-correlation-id"].len(), 36);

    let list = http::client().get(offline.base_url() + "/v1/models").header("authorization", "Bearer t");
    let list = http::read(list.send().await.expect("an answer")).await.json();
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|card| card["id"].clone()).collect();
    assert_eq!(names, MODELS);
    assert_eq!(list["data"][2]["capabilities"]["reasoning"], true);
}
