//! The server is killed between two tools: what ran is kept, and nothing is run twice.

use causerie::proto::{self, event::Kind, stream_events_request::Request, turn::State};
use tempfile::TempDir;

use super::{asked, http_tool, runs_of, tool, with_tools};
use crate::support::{
    calls,
    completion::{stream_of, stream_of_calls},
    event_log,
    events::soon,
    golden::assert_golden,
    process::{self, Process},
    provider::{Reply, ScriptedProvider},
    server::{append, text_of},
    status::{carried, reason_of},
};

#[tokio::test]
async fn a_crash_between_two_tools_runs_nothing_twice() {
    let (provider, peer) = (ScriptedProvider::start().await, ScriptedProvider::start().await);
    let mut never = Reply::plain(200, "text/plain", "never");
    let _closed = never.gate();
    peer.on_path("/first", Reply::plain(200, "text/plain", "charged"));
    peer.on_path("/second", never);
    provider.reply(stream_of_calls(&[("first", r#"{"q":"a"}"#), ("second", r#"{"q":"b"}"#)]));
    let dir = TempDir::new().expect("a temporary folder");
    let mut flags = process::flags(&dir.path().join("store"), &provider.base_url());
    flags.insert("--tools-http-allow", "127.0.0.1".to_owned());
    let process = Process::start(&flags).await;
    let tools = vec![tool(http_tool("first", &peer, "/first")), tool(http_tool("second", &peer, "/second"))];
    let expiration = Some(proto::start_request::Expiration::Ttl(prost_types::Duration { seconds: 3600, nanos: 0 }));
    let request = proto::StartRequest { request_id: "mine".to_owned(), expiration, ..with_tools("Both", tools) };
    let stream = proto::StreamEventsRequest { request: Some(Request::Start(request.clone())), ..Default::default() };
    let mut stream = process.client().await.stream_events(stream).await.expect("a stream").into_inner();
    // What was told is on disk: the first tool's entry.
    let turn_id = soon(async {
        loop {
            let event = stream.message().await.expect("no error").expect("an event");
            if matches!(event.kind, Some(Kind::EntryDone(_))) {
                return event.turn_id;
            }
        }
    })
    .await;
    soon(async {
        while peer.requests().len() < 2 {
            peer.next_request().await;
        }
    })
    .await;
    process.kill();

    let process = Process::start(&flags).await;
    let mut client = process.client().await;
    let (events, end) = calls::watch(&mut client, "after", calls::resume(&turn_id, 0)).await;
    end.expect("it has a terminal event");
    assert_golden("turns/crash_between_tools.jsonl", &event_log::told(&[("as it was found after the crash", &events)]));
    let turn = calls::get_turn(&mut client, &turn_id).await.expect("a turn");
    assert_eq!(turn.state(), State::Incomplete);
    assert_eq!(reason_of(&carried(turn.error.as_ref().expect("an error"))), "TURN_LOST");
    // What was said of the tree holds for what is left of it.
    let kept = calls::get_conversation(&mut client, &turn.conversation_id).await.expect("a version");
    assert!(kept.expire_time.is_some(), "{kept:?}");
    let runs = runs_of(&turn);
    let status: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.status())).collect();
    assert_eq!(status, [("first", proto::OutputStatus::Completed), ("second", proto::OutputStatus::Incomplete)]);
    // The same request meets its turn again.
    let again = calls::run(&mut client, "again", Request::Start(request)).await.expect("the turn");
    assert_eq!(again.id, turn_id);

    provider.reply(stream_of(&["The first worked."], "stop"));
    let on = calls::run(&mut client, "on", Request::Append(append(&turn.conversation_id, ""))).await.expect("a turn");
    assert_eq!((on.state(), text_of(&on).as_str()), (State::Completed, "The first worked."));
    let told = asked(provider.requests().last().expect("a request"));
    assert_eq!(told[2..], ["tool: charged", r#"tool: {"error":"the tool was cut off: what it did is not known"}"#]);
    let paths: Vec<String> = peer.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.len(), 2, "each tool was called once: {paths:?}");
    assert_eq!(process.stop().await.code, Some(0));

    // What was written for the crash is gone: a third start finds nothing to keep.
    let process = Process::start(&flags).await;
    let versions = calls::list_all(&mut process.client().await).await;
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(process.stop().await.code, Some(0));
}
