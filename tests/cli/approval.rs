//! `causerie chat` where calls wait for consent, and where a person is asked: through a pipe.

use causerie::proto::{self, ConfirmationStatus, entry::Kind};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{
    golden::normalised,
    program::{Causerie, piped, told},
    reads,
    server::Client,
};

fn entry(kind: Kind) -> proto::Entry {
    proto::Entry { kind: Some(kind), ..Default::default() }
}

fn text(text: &str) -> proto::Chunk {
    proto::Chunk { kind: Some(proto::chunk::Kind::Text(text.to_owned())) }
}

fn user(content: &str) -> proto::Entry {
    let role = proto::Role::User.into();
    entry(Kind::MessageInput(proto::MessageInput { role, content: vec![text(content)], prefix: false }))
}

fn function(name: &str) -> proto::FunctionCall {
    let (name, tool_call_id) = (name.to_owned(), format!("id_{name}"));
    proto::FunctionCall { name, tool_call_id, arguments: r#"{"path":"a"}"#.to_owned(), ..Default::default() }
}

fn consent(name: &str) -> proto::FunctionCall {
    proto::FunctionCall { confirmation_status: ConfirmationStatus::Pending.into(), ..function(name) }
}

/// A conversation that ends in these calls.
async fn waiting(client: &mut Client, calls: Vec<proto::FunctionCall>) -> String {
    let calls = calls.into_iter().map(|call| entry(Kind::FunctionCall(call)));
    let request = proto::StartRequest {
        model: "offline-small".to_owned(),
        inputs: [user("Tidy up")].into_iter().chain(calls).collect(),
        skip_completion: true,
        ..Default::default()
    };
    client.start(request).await.expect("it is stored").into_inner().conversation_id
}

/// Types lines into a chat: stdout, stderr and exit code.
fn chat(server: &Causerie, id: &str, lines: &str) -> (String, String, Option<i32>) {
    told(&piped(server.client(&["chat", id]).env("USER", "mia"), lines))
}

/// The version to go on from, as a chat tells it in its last line.
fn left(err: &str) -> String {
    err.lines().last().expect("a line").trim_start_matches("conversation ").to_owned()
}

#[test]
fn consent_is_asked_for_given_and_refused() {
    let runtime = Runtime::new().expect("a runtime");
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = runtime.block_on(server.connect());
    let calls = vec![consent("delete_file"), function("local"), consent("move_file")];
    let id = runtime.block_on(waiting(&mut client, calls));

    // No line but a plain yes decides; and what was decided is not lost without a word.
    let (_, err, code) = chat(&server, &id, "yes, go on\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("needs your consent first: y or n"), "{err}");
    let (_, err, code) = chat(&server, &id, "/approve 1\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("2 of the calls were not answered, so nothing was sent"), "{err}");
    let (_, err, code) = chat(&server, &id, "/continue\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("/approve and /deny, and give results with /result, or go on without them with /skip"),
        "{err}"
    );

    // One turn takes all that is said; the tool is gone meanwhile, which the model is told.
    let (out, err, code) = chat(&server, &id, "/deny 2 it is needed\n/approve 1 {\"path\": \"b\"}\n42\n/history\n");
    assert_eq!(code, Some(0), "{err}");
    let run = r#"tool 1: delete_file({"path": "b"})"#;
    assert!(err.contains(run) && err.contains("tool 1: delete_file failed after "), "{err}");
    let history = normalised(&out);
    for part in [
        "asks for consent to (call_ID)\ndelete_file({\"path\":\"a\"})",
        "the function returned (result_ID)\n42",
        "mia did not agree (result_ID)\na person did not agree to this call: it is needed",
        ", mia agreed (exec_ID)\ndelete_file({\"path\": \"b\"})\nfailed: the service does not run delete_file any more",
    ] {
        assert!(history.contains(part), "{part} is not in:\n{history}");
    }
    let version = runtime.block_on(reads::version(&client, &left(&err)));
    assert_eq!((version.turn_count, version.pending_tool_call_ids.len()), (2, 0), "both kinds went in one turn");
    drop(client);
    server.stop();
}

#[test]
fn calls_are_skipped_and_a_part_is_sent_on_demand() {
    let runtime = Runtime::new().expect("a runtime");
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = runtime.block_on(server.connect());
    let id = runtime.block_on(waiting(&mut client, vec![consent("delete_file"), consent("move_file")]));

    let (out, err, code) = chat(&server, &id, "y\n/skip\n/history\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(normalised(&out).contains("the call was skipped (result_ID)\nskipped: "), "{out}");

    // What is allowed runs, the rest still waits: a pipe ends there, and says how to go on.
    let (out, err, code) = chat(&server, &id, "n\n/continue\nHello\n");
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    for part in [
        "error: the model asks for what needs a person's consent",
        "1  move_file({\"path\":\"a\"}) needs your consent",
        "Go on in a terminal: causerie chat conv_",
        "Or here: echo '/approve all' | causerie chat conv_",
    ] {
        assert!(err.contains(part), "{part} is not in:\n{err}");
    }
    let id = err.split("causerie chat ").nth(1).and_then(|rest| rest.lines().next()).expect("it names the version");
    let (out, err, code) = chat(&server, id, "/approve all\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("[offline]"), "the model goes on: {out}");
    drop(client);
    server.stop();
}

#[test]
fn consent_that_comes_too_late_is_told_and_the_rest_goes_on() {
    let runtime = Runtime::new().expect("a runtime");
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = runtime.block_on(server.connect());
    let long_ago = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let late = proto::FunctionCall { confirmation_expires_at: Some(long_ago), ..consent("delete_file") };
    let id = runtime.block_on(waiting(&mut client, vec![late]));

    let (out, err, code) = chat(&server, &id, "/approve\n");
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    for part in ["came too late", "delete_file({\"path\":\"a\"})", "echo /continue | causerie chat conv_"] {
        assert!(err.contains(part), "{part} is not in:\n{err}");
    }
    let (out, err, code) = chat(&server, &id, "/continue\n/history\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(normalised(&out).contains("nobody agreed in time (result_ID)"), "{out}");
    // What is said in place of it does as well; but not a yes, which was meant for the call.
    let (out, err, code) = chat(&server, &id, "Never mind\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("You said: \"Never mind\""), "{out}");
    let (_, err, code) = chat(&server, &id, "y\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("came too late"), "{err}");
    drop(client);
    server.stop();
}

#[test]
fn a_person_is_asked_and_answers_for_either_side() {
    let runtime = Runtime::new().expect("a runtime");
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = runtime.block_on(server.connect());
    let tool = proto::Tool { kind: Some(proto::tool::Kind::HumanHandoff(proto::HumanHandoffTool::default())) };
    let request = proto::StartRequest {
        model: "offline-small".to_owned(),
        inputs: vec![user("Good day")],
        tools: vec![tool],
        skip_completion: true,
        ..Default::default()
    };
    let id = runtime.block_on(client.start(request)).expect("it is stored").into_inner().conversation_id;

    let (_, err, code) = chat(&server, &id, "/assistant Nobody asked\n");
    assert_eq!(code, Some(1), "{err}");
    let (out, err, code) = chat(&server, &id, "transfer_to_human {\"message\": \"Refund 20 dollars?\"}\nHello\n");
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    assert!(err.contains("error: a person is asked: Refund 20 dollars?\n"), "{err}");
    assert!(err.contains("Or here: echo 'ANSWER' | causerie chat conv_"), "{err}");
    let asked = left(&err.lines().filter(|line| line.starts_with("conversation ")).collect::<String>());

    // The user's answer is answered by the model, the assistant's is an answer already.
    let (out, err, code) = chat(&server, &asked, "Yes, do\n/versions\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("You said: \"Yes, do\"") && out.contains("waits for a person"), "{out}");
    let (out, err, code) = chat(&server, &asked, "/assistant It is on its way.\n/history\n");
    assert_eq!(code, Some(0), "{err}");
    let history = normalised(&out);
    for part in ["offline-small asks a person (human_ID)\nRefund 20 dollars?", "assistant (msg_ID)\nIt is on its way."]
    {
        assert!(history.contains(part), "{part} is not in:\n{history}");
    }
    assert!(!out.contains("You said: \"It is"), "the model is not asked: {out}");
    drop(client);
    server.stop();
}

/// Makes an agent and gives its id.
fn agent(server: &Causerie, agent: &Value) -> String {
    let (out, err, code) = told(&piped(&mut server.client(&["agents", "create", "-"]), &agent.to_string()));
    assert_eq!(code, Some(0), "{err}");
    let made: Value = serde_json::from_str(&out).expect("it is shown as JSON");
    made["id"].as_str().expect("it has an id").to_owned()
}

#[test]
fn agents_lead_by_name_and_hand_over_in_sight() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let billing = agent(&server, &json!({"name": "billing", "model": "offline-large"}));
    let triage = agent(&server, &json!({"name": "triage", "model": "offline-small", "handoffs": [billing]}));

    // The variable's model is not taken: an agent brings its own.
    let mut command = server.client(&["chat", "--agent", "triage", "--agent-version", "1"]);
    let lines = "Hello\n/agent\ntransfer_to_agent {\"agent\": \"billing\"}\n/agent\n/model\n/history\n";
    let (out, err, code) = told(&piped(command.env("CAUSERIE_MODEL", "nonsense"), lines));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("triage hands over to billing\n"), "{err}");
    for part in [
        format!("triage ({triage})\n"),
        format!("billing ({billing})\nthe model of billing\n"),
        "triage (msg_".to_owned(),
        "\ntriage hands over to billing\n".to_owned(),
        "billing (msg_".to_owned(),
    ] {
        assert!(out.contains(&part), "{part} is not in:\n{out}");
    }

    // Another agent, by its id, in the middle of a conversation; then a model of its own for it.
    let lines = format!("/agent {triage}\n/agent\nHello again\n/model offline-large\nAnd again\n/history\n");
    let (out, err, code) = chat(&server, &left(&err), &lines);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(&format!("triage ({triage})\n")), "{out}");
    assert_eq!(out.matches("triage (msg_").count(), 3, "{out}");
    server.stop();
}

#[test]
fn an_agent_that_is_not_there_is_no_conversation() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let (_, err, code) = told(&piped(&mut server.client(&["chat", "--agent", "billing"]), "Hello\n"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("no agent is called \"billing\""), "{err}");

    let gone = format!("agent_{}", "0".repeat(32));
    let (_, err, code) = told(&piped(&mut server.client(&["chat", "--agent", &gone]), "Hello\n"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("AGENT_NOT_FOUND"), "{err}");

    let (out, err, code) = told(&piped(&mut server.client(&["chat", "--model", "offline-small"]), "Hello\n/agent\n"));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("no agent leads\n"), "{out}");
    let (_, err, code) = told(&piped(&mut server.client(&["chat", "--model", "m", "--agent", "a"]), "Hello\n"));
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("led by a model or by an agent"), "{err}");
    server.stop();
}
