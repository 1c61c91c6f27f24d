//! MCP servers in turns that are not there, die, or are not known; and calls of theirs that nobody waits for any more.

use std::{fs, path::Path};

use causerie::proto::{self, ErrorReason, event::Kind, stream_events_request::Request, turn::State};
use serde_json::Value;
use tempfile::TempDir;

use super::{runs_of, stream, texts, with_tools};
use crate::support::{
    calls,
    completion::{stream_of, stream_of_calls},
    events::{Reader, Seen, full, soon, watch},
    outside::PYTHON,
    refusal::fields,
    server::{Client, TestServer, append},
    status::{assert_promised, reason_of, told},
};

/// The service with the server of tests/clients/mcp_faults.py, and one that can't be started.
pub(super) struct Stage {
    pub(super) server: TestServer,
    pub(super) client: Client,
    folder: TempDir,
}

impl Stage {
    /// `None`: there is no Python on this machine.
    pub(super) async fn new(settings: &[(&str, &str)]) -> Option<Stage> {
        let Some(python) = PYTHON.path() else {
            PYTHON.skip("turns with mcp_faults.py");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mcp_faults.py");
        let folder = tempfile::tempdir().expect("a folder");
        let starts = folder.path().join("starts");
        let file = format!(
            "[tools.http]\nallow = [\"127.0.0.1\"]\n\
             [mcp.faults]\ncommand = [{python:?}, \"-u\", {script:?}, \"good\", {starts:?}]\nconnect_timeout = \"60s\"\n\
             [mcp.gone]\ncommand = [\"/no/such/program\"]\n"
        );
        let server = TestServer::configured(&file, settings).await;
        let client = server.client().await;
        Some(Stage { server, client, folder })
    }

    /// The ids of the processes that were started so far.
    fn started(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// A turn whose model asks for these, and is then content.
    pub(super) async fn turn(&self, asks: &[(&str, &str)]) -> Seen {
        self.server.provider.reply(stream_of_calls(asks));
        self.server.provider.reply(stream_of(&["Well."], "stop"));
        stream(&self.client, Request::Start(with_tools("Do it", vec![faults()]))).await
    }

    /// A turn in which a call is under way that is never answered, the `nth` of this test, and its id.
    pub(super) async fn hanging(&self, nth: usize) -> (Reader, String) {
        self.server.provider.reply(stream_of_calls(&[("faults_hang", "")]));
        let mut reader = watch(&self.client, full(Request::Start(with_tools("Do it", vec![faults()])))).await;
        let turn_id = reader.started().await;
        while !matches!(soon(reader.next()).await.kind, Some(Kind::ToolExecutionStarted(_))) {}
        self.told("tools/call hang", nth).await;
        (reader, turn_id)
    }

    /// What the server of tools was told so far, in its own words.
    pub(super) async fn journal(&self) -> Vec<String> {
        let seen = self.turn(&[("faults_journal", "")]).await;
        serde_json::from_str(&texts(&runs_of(seen.turn())[0].result)).expect("a list")
    }

    /// Waits until the server of tools was told this so many times.
    pub(super) async fn told(&self, what: &str, count: usize) {
        let told = async { while self.journal().await.iter().filter(|line| *line == what).count() < count {} };
        soon(told).await;
    }

    /// Waits until so many calls were cancelled.
    pub(super) async fn cancelled(&self, count: usize) {
        self.told("notifications/cancelled", count).await;
    }
}

fn tools_of(server: &str) -> proto::Tool {
    let tools = proto::McpTools { server: server.to_owned(), ..Default::default() };
    proto::Tool { kind: Some(proto::tool::Kind::Mcp(tools)) }
}

pub(super) fn faults() -> proto::Tool {
    tools_of("faults")
}

#[tokio::test]
async fn servers_that_nobody_configured_are_refused_with_those_there_are() {
    let Some(stage) = Stage::new(&[]).await else { return };
    let request = with_tools("Do it", vec![super::function("mine"), tools_of("nobody")]);
    let refused = stage.client.clone().start(request).await.expect_err("there is none");
    assert_eq!(reason_of(&refused), ErrorReason::InvalidRequest.as_str_name());
    assert_eq!(fields(&refused), ["tools[1].mcp.server"]);
    let text = format!("{refused:?}");
    assert!(text.contains("nobody") && text.contains("faults, gone"), "{text}");
    assert!(stage.started().is_empty(), "nothing was started for it");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_started_ends_the_turn_before_a_model_is_asked() {
    let Some(mut stage) = Stage::new(&[]).await else { return };
    for id in ["first", "while it rests"] {
        let id = id.replace(' ', "-");
        let request = with_tools("Do it", vec![faults(), tools_of("gone")]);
        let failed = calls::run(&mut stage.client, &id, Request::Start(request)).await.expect_err("one is gone");
        assert_promised(&failed, ErrorReason::ToolsUnavailable, &id);
        assert_eq!(told(&failed, "server"), "gone");
        assert!(failed.message().contains("can't be started"), "{failed:?}");
        let turn = calls::get_turn(&mut stage.client, &told(&failed, "turn_id")).await.expect("it is kept");
        assert_eq!((turn.state(), turn.conversation_id.as_str()), (State::Failed, ""));
    }
    assert!(stage.server.provider.requests().is_empty(), "no model was asked");
    // The others go on without it.
    let seen = stage.turn(&[("faults_echo", r#"{"text":"here"}"#)]).await;
    assert_eq!(texts(&runs_of(seen.turn())[0].result), "here");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_comes_back() {
    let Some(stage) = Stage::new(&[]).await else { return };
    // In the middle of a call: the model is told, and the turn goes on.
    let seen = stage.turn(&[("faults_echo", r#"{"text":"a"}"#), ("faults_die", "")]).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::Completed);
    assert!(runs_of(turn)[1].error.ends_with("what the call did is not known"), "{turn:?}");
    // Between turns: until it has rested its tools are not there, and the caller is told when to come back.
    let more = || {
        stage.server.provider.reply(stream_of_calls(&[("faults_echo", r#"{"text":"b"}"#)]));
        stage.server.provider.reply(stream_of(&["Back."], "stop"));
        append(&turn.conversation_id, "Again")
    };
    let again = more();
    let back = async {
        loop {
            match stage.client.clone().append(again.clone()).await {
                Ok(turn) => return turn.into_inner(),
                Err(status) => assert_eq!(reason_of(&status), ErrorReason::ToolsUnavailable.as_str_name()),
            }
        }
    };
    let turn = soon(back).await;
    assert_eq!(texts(&runs_of(&turn)[0].result), "b");
    assert_eq!(stage.started().len(), 2);
    stage.server.stop().await;
}

#[tokio::test]
async fn arguments_that_are_no_object_and_failures_are_told_to_the_model() {
    let Some(stage) = Stage::new(&[]).await else { return };
    let seen = stage.turn(&[("faults_echo", "[1]"), ("faults_error", "{}"), ("faults_echo", "")]).await;
    let runs = runs_of(seen.turn());
    assert_eq!(runs[0].error, "the arguments are no JSON object; nothing was called");
    assert_eq!(runs[1].error, "no such city");
    assert_eq!((runs[2].error.as_str(), texts(&runs[2].result).as_str()), ("", ""));
    let sent = &stage.server.provider.requests()[1].json["messages"];
    let arguments = sent[1]["tool_calls"][0]["function"]["arguments"].as_str().expect("a text");
    assert!(serde_json::from_str::<Value>(arguments).is_ok(), "{sent}");
    assert_eq!(sent[4]["content"], "done", "an empty result would say that nothing was found");
    stage.server.stop().await;
}
