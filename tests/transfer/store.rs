//! A store with everything in it that an export has to carry.

use causerie::proto::{self, chunk::Kind as ChunkKind, entry::Kind, stream_events_request::Request, turn::State};
use serde_json::{Value, json};

use crate::support::{
    calls::{self, history},
    provider::Reply,
    server::{Client, TestServer, append, start},
};

/// What of it the tests go on from.
pub(super) struct Filled {
    /// The first version of the tree.
    pub(super) root: String,
    /// Its turn.
    pub(super) turn: String,
    /// The request that made it.
    pub(super) request: proto::StartRequest,
    /// The end of a branch.
    pub(super) leaf: String,
    /// A version of another tree, whose calls wait.
    pub(super) waiting: String,
    /// Their results.
    pub(super) results: Vec<proto::Entry>,
}

pub(super) async fn fill(server: &TestServer, client: &mut Client) -> Filled {
    let request = proto::StartRequest {
        instructions: "Be brief.".to_owned(),
        metadata: [("user".to_owned(), "ann".to_owned())].into(),
        completion_args: Some(proto::CompletionArgs { temperature: Some(0.25), ..Default::default() }),
        request_id: "start-1".to_owned(),
        ..start("One?")
    };
    server.provider.reply(Reply::text("One."));
    let root = calls::run(client, "root", Request::Start(request.clone())).await.expect("an answer");
    let (thinking, cut) = (thinks(server, client, &root).await, is_cut(server, client, &root).await);
    let leaf = branches(server, client, &thinking).await;
    goes_on(server, client, &cut).await;
    fails(server, client, &root).await;
    let (waiting, results) = waits(server, client).await;
    Filled { root: root.conversation_id, turn: root.id, request, leaf, waiting, results }
}

/// Thinking, streamed, with other settings and a request id.
async fn thinks(server: &TestServer, client: &mut Client, on: &proto::Turn) -> proto::Turn {
    let thought = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": true}]);
    server.provider.reply(Reply::sse(&[
        chunk(json!({"role": "assistant", "content": thought}), Value::Null),
        chunk(json!({"content": "Two."}), json!("stop")),
    ]));
    let request = proto::AppendRequest {
        model: "thinking-model".to_owned(),
        request_id: "append-1".to_owned(),
        ..append(&on.conversation_id, "Two?")
    };
    let turn = streamed(client, Request::Append(request)).await;
    assert!(format!("{:?}", turn.outputs).contains("Thinking"), "{:?}", turn.outputs);
    turn
}

/// An answer that is cut off after output began.
async fn is_cut(server: &TestServer, client: &mut Client, on: &proto::Turn) -> proto::Turn {
    server.provider.reply(Reply::text("Half an answer").cut_after(3));
    let turn = streamed(client, Request::Append(append(&on.conversation_id, "Whole?"))).await;
    assert_eq!(turn.state(), State::Incomplete, "{turn:?}");
    turn
}

/// A regenerated answer, and a branch from the middle with a chain of its own.
async fn branches(server: &TestServer, client: &mut Client, on: &proto::Turn) -> String {
    server.provider.on_every(Reply::text("Again."));
    let entries = history(client, &on.conversation_id).await.expect("a history");
    let restart = |at: usize| proto::RestartRequest {
        conversation_id: on.conversation_id.clone(),
        from_entry_id: entries[at].id.clone(),
        ..Default::default()
    };
    calls::run(client, "regenerate", Request::Restart(restart(2))).await.expect("another answer");
    let aside = proto::RestartRequest { input: "Aside?".to_owned(), ..restart(1) };
    let mut leaf = calls::run(client, "aside", Request::Restart(aside)).await.expect("a branch").conversation_id;
    for text in ["And?", "And then?"] {
        leaf = calls::run(client, "and", Request::Append(append(&leaf, text))).await.expect("more").conversation_id;
    }
    leaf
}

/// The model continues its half answer.
async fn goes_on(server: &TestServer, client: &mut Client, cut: &proto::Turn) {
    server.provider.reply(Reply::text("Half an answer, and the rest."));
    calls::run(client, "rest", Request::Append(append(&cut.conversation_id, ""))).await.expect("the rest");
}

/// Turns that made no version: no export has them.
async fn fails(server: &TestServer, client: &mut Client, on: &proto::Turn) {
    server.provider.reply(Reply::json(401, &json!({"detail": "Unauthorized"})));
    let request = Request::Append(append(&on.conversation_id, "Fail."));
    calls::run(client, "fail", request).await.expect_err("the key is refused");
}

/// Another tree: two calls at once, of which none has a result.
async fn waits(server: &TestServer, client: &mut Client) -> (String, Vec<proto::Entry>) {
    let call = |id: &str, city: &str| {
        json!({"id": id, "type": "function",
            "function": {"name": "weather", "arguments": json!({"city": city}).to_string()}})
    };
    let calls_made = json!([call("abcdefgh1", "Paris"), call("abcdefgh2", "Nice")]);
    server.provider.reply(Reply::json(
        200,
        &json!({
            "id": "scripted", "object": "chat.completion", "created": 1, "model": "scripted-model",
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "choices": [{"index": 0, "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": "", "tool_calls": calls_made}}],
        }),
    ));
    let function = proto::Function { name: "weather".to_owned(), ..Default::default() };
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }];
    let request = proto::StartRequest { tools, ..start("Rain?") };
    let turn = calls::run(client, "waits", Request::Start(request)).await.expect("two calls");
    assert_eq!((turn.state(), turn.outputs.len()), (State::RequiresAction, 2));
    let results = turn.outputs.iter().map(|output| {
        let Some(Kind::FunctionCall(call)) = &output.kind else { panic!("{output:?}") };
        let content = vec![proto::Chunk { kind: Some(ChunkKind::Text("rain".to_owned())) }];
        let result =
            proto::FunctionResult { tool_call_id: call.tool_call_id.clone(), content, is_error: false, decision: None };
        proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() }
    });
    (turn.conversation_id, results.collect())
}

/// A turn that is streamed to its end.
async fn streamed(client: &mut Client, request: Request) -> proto::Turn {
    let (events, end) = calls::watch(client, "streamed", request).await;
    end.expect("a stream that ends well");
    match events.into_iter().last().and_then(|event| event.kind) {
        Some(proto::event::Kind::ResponseDone(done)) => done.turn.expect("the turn"),
        other => panic!("{other:?}"),
    }
}

fn chunk(delta: Value, finish: Value) -> Value {
    json!({"id": "scripted", "object": "chat.completion.chunk", "created": 1, "model": "thinking-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}
