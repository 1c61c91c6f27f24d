//! A streamed turn: its events, the same for every reader, however many there are and however slowly they read.

use causerie::proto::{self, chunk, entry, event::Kind, stream_events_request::Request, turn::State};

use crate::support::{
    completion::{calls, event, finish, says, stream_of, thinks},
    events::{assert_whole, entries_done, events_of, full, joined, merged, name, names, resume, run, watch},
    provider::Reply,
    reads,
    refusal::reason,
    server::{TestServer, append, entry_text, start, text_of},
};

fn deltas(events: &[proto::Event]) -> Vec<proto::MessageOutputDelta> {
    let deltas = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::MessageOutputDelta(delta)) => Some(delta.clone()),
        _ => None,
    });
    deltas.collect()
}

#[tokio::test]
async fn a_turn_is_told_from_its_start_to_its_end() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one two three"));

    let seen = events_of(&client, run(start("Hello"))).await;

    assert_whole(&seen.events);
    let delta = "message_output_delta";
    assert_eq!(names(&seen.events), ["response_started", delta, delta, delta, "entry_done", "response_done"]);
    assert_eq!(joined(&seen.events), "one two three");
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "one two three"));
    assert_eq!(turn.usage.as_ref().expect("usage").completion_tokens, 3);
    assert_eq!(reads::turn(&client, &turn.id).await, *turn);
    assert_eq!(server.provider.next_request().await.json["stream"], true);
    server.stop().await;
}

#[tokio::test]
async fn the_ids_of_the_events_are_those_that_are_read_back() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.on_every(Reply::text("one two"));
    let first = events_of(&client, run(start("Hello"))).await.turn().conversation_id.clone();

    let request = full(Request::Append(append(&first, "again")));
    let seen = events_of(&client, request).await;

    let (started, turn) = (seen.started(), seen.turn());
    assert_eq!((&started.parent_conversation_id, &turn.parent_conversation_id), (&first, &first));
    assert_eq!(started.conversation_id, turn.conversation_id);
    assert_eq!(turn.id.strip_prefix("turn_"), turn.conversation_id.strip_prefix("conv_"));
    assert_eq!(entry_text(&started.inputs[0]), "again");
    let said = entries_done(&seen.events);
    assert_eq!(reads::history(&client, &turn.conversation_id).await[2..], [started.inputs[0].clone(), said[0].clone()]);
    for delta in deltas(&seen.events) {
        assert_eq!((&delta.entry_id, delta.output_index, delta.content_index), (&said[0].id, 0, 0));
        assert_eq!((delta.role(), delta.model.as_str()), (proto::Role::Assistant, "scripted-model"));
    }
    server.stop().await;
}

#[tokio::test]
async fn thinking_is_a_chunk_of_its_own() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let chunks = [thinks("Hm, "), thinks("yes."), says("It "), says("is."), finish("stop")];
    server.provider.reply(Reply::sse(&chunks));

    let seen = events_of(&client, run(start("Is it?"))).await;

    assert_whole(&seen.events);
    let places: Vec<i32> = deltas(&seen.events).iter().map(|delta| delta.content_index).collect();
    assert_eq!(places, [0, 0, 1, 1]);
    let Some(entry::Kind::MessageOutput(message)) = &seen.turn().outputs[0].kind else { panic!("{seen:?}") };
    let [thought, text] = message.content.as_slice() else { panic!("{message:?}") };
    let Some(chunk::Kind::Thinking(thought)) = &thought.kind else { panic!("{thought:?}") };
    assert_eq!(thought.content[0].kind, Some(chunk::Kind::Text("Hm, yes.".to_owned())));
    assert_eq!(text.kind, Some(chunk::Kind::Text("It is.".to_owned())));
    server.stop().await;
}

#[tokio::test]
async fn function_calls_come_in_pieces() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let chunks = [
        says("Wait."),
        calls(0, Some("weather"), r#"{"in":"#),
        calls(1, Some("clock"), "{"),
        calls(0, None, r#""Paris"}"#),
        calls(1, None, "}"),
        finish("tool_calls"),
    ];
    server.provider.reply(Reply::sse(&chunks));

    let seen = events_of(&client, run(start("Weather? Time?"))).await;

    assert_whole(&seen.events);
    let pieces: Vec<proto::FunctionCallDelta> = seen.events.iter().filter_map(call_delta).collect();
    let told: Vec<(&str, i32, &str)> =
        pieces.iter().map(|piece| (piece.name.as_str(), piece.output_index, piece.arguments.as_str())).collect();
    let expected = [("weather", 1, r#"{"in":"#), ("clock", 2, "{"), ("weather", 1, r#""Paris"}"#), ("clock", 2, "}")];
    assert_eq!(told, expected);
    let turn = seen.turn();
    assert_eq!(turn.state(), State::RequiresAction);
    let Some(entry::Kind::FunctionCall(call)) = &turn.outputs[1].kind else { panic!("{turn:?}") };
    assert_eq!((&call.tool_call_id, call.arguments.as_str()), (&pieces[0].tool_call_id, r#"{"in":"Paris"}"#));
    server.stop().await;
}

fn call_delta(event: &proto::Event) -> Option<proto::FunctionCallDelta> {
    match &event.kind {
        Some(Kind::FunctionCallDelta(delta)) => Some(delta.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn the_lifecycle_view_leaves_out_the_deltas_and_nothing_else() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one two three"));
    let lifecycle = |request| proto::StreamEventsRequest { view: proto::EventView::Lifecycle.into(), ..request };

    let live = events_of(&client, lifecycle(run(start("Hello")))).await;
    let replayed = events_of(&client, lifecycle(resume(live.turn_id(), 0))).await;
    let all = events_of(&client, resume(live.turn_id(), 0)).await;

    let rest: Vec<proto::Event> = all.events.into_iter().filter(|event| !name(event).ends_with("_delta")).collect();
    assert_eq!(names(&rest), ["response_started", "entry_done", "response_done"]);
    assert_eq!(live.events, rest);
    assert_eq!(replayed.events, rest);
    server.stop().await;
}

#[tokio::test]
async fn any_number_of_readers_see_the_same_log() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut reply = Reply::text("a b c d e f");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut first = watch(&client, run(start("Hello"))).await;
    let turn_id = first.started().await;
    let mut readers = vec![first];
    for text in ["a ", "a b ", "a b c "] {
        // The headers, the role and then one word at a time.
        (0..if text == "a " { 3 } else { 1 }).for_each(|_| gate.step());
        readers[0].until(text).await;
        for _ in 0..5 {
            readers.push(watch(&server.client().await, resume(&turn_id, 0)).await);
        }
    }
    gate.open();

    let mut logs = Vec::new();
    for reader in readers {
        logs.push(reader.rest().await.events);
    }
    assert_whole(&logs[0]);
    assert_eq!(logs.len(), 16);
    assert!(logs.iter().all(|log| *log == logs[0]));
    server.stop().await;
}

/// 16,000 pieces and one client that does not read them: neither its connection nor the turn suffers.
#[tokio::test]
async fn a_reader_that_lags_gets_merged_deltas_and_loses_nothing() {
    let server = TestServer::start().await;
    let words: String = (0..16_000).map(|n| format!("{n} ")).collect();
    server.provider.reply(Reply::text(&words));
    let mut lagging = watch(&server.client().await, run(start("Count"))).await;
    let turn_id = lagging.started().await;

    let prompt = events_of(&server.client().await, resume(&turn_id, 0)).await;
    let lagging = lagging.rest().await;

    for seen in [&prompt, &lagging] {
        assert_whole(&seen.events);
        assert_eq!(joined(&seen.events), words);
        assert!(seen.turn().last_sequence > 16_000, "each piece has its sequence");
        // Receivers drop connections on which some 10,000 small messages wait to be read.
        assert!(seen.events.len() < 10_000, "{} messages", seen.events.len());
    }
    assert_eq!(merged(&lagging.events), merged(&prompt.events));
    server.stop().await;
}

/// Hundreds who came to read and don't: neither the provider nor who does read waits for them.
#[tokio::test]
async fn readers_that_do_not_read_hold_up_no_turn() {
    const READERS: usize = 300;
    let server = TestServer::start().await;
    let words: String = (0..2000).map(|n| format!("{n} ")).collect();
    let mut reply = Reply::text(&words);
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut caller = watch(&server.client().await, run(start("Count"))).await;
    let turn_id = caller.started().await;
    let mut idle = Vec::new();
    while idle.len() < READERS {
        let client = server.client().await;
        for _ in 0..READERS / 4 {
            idle.push(watch(&client, resume(&turn_id, 0)).await);
        }
    }
    gate.open();
    let seen = caller.rest().await;
    assert_whole(&seen.events);
    assert_eq!(joined(&seen.events), words);
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_that_are_not_in_the_log() {
    let server = TestServer::with(&[("events.heartbeat", "1s")]).await;
    let client = server.client().await;
    let mut reply = stream_of(&["late"], "stop");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;

    let heartbeat = reader.next().await;
    gate.open();
    let seen = reader.rest().await;

    assert_eq!(name(&heartbeat), "heartbeat");
    assert_eq!((heartbeat.sequence, heartbeat.turn_id), (0, turn_id));
    assert_whole(&seen.events);
    let replayed = events_of(&client, resume(seen.turn_id(), 0)).await;
    assert_eq!(replayed.events, merged(&seen.events));
    server.stop().await;
}

#[tokio::test]
async fn whoever_sees_the_end_can_read_the_version() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    for _ in 0..10 {
        let mut reader = watch(&client, run(start("Hello"))).await;
        let end = loop {
            let event = reader.next().await;
            if let Some(Kind::ResponseDone(done)) = event.kind {
                break done.turn.expect("a turn");
            }
        };
        assert_eq!(reads::history(&client, &end.conversation_id).await.len(), 2);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_running_turn_can_be_read() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut reply = Reply::text("one two");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    (0..3).for_each(|_| gate.step());
    reader.until("one ").await;

    let turn = reads::turn(&client, &turn_id).await;

    assert_eq!((turn.state(), turn.last_sequence), (State::Running, 2));
    assert!(turn.conversation_id.is_empty() && turn.outputs.is_empty());
    gate.open();
    assert_eq!(text_of(reader.rest().await.turn()), "one two");
    server.stop().await;
}

#[tokio::test]
async fn a_streamed_turn_that_is_not_stored_is_gone_after_its_end() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("between us"));

    let aside = proto::StartRequest { store: Some(false), ..start("Hello") };
    let seen = events_of(&client, run(aside)).await;

    assert_whole(&seen.events);
    assert_eq!((seen.started().conversation_id.as_str(), seen.turn().conversation_id.as_str()), ("", ""));
    let request = proto::GetTurnRequest { turn_id: seen.turn_id().to_owned(), ..Default::default() };
    let gone = client.get_turn(request).await.expect_err("nothing to read");
    assert_eq!(reason(&gone), "TURN_NOT_FOUND");
    let gone = client.stream_events(resume(seen.turn_id(), 0)).await.expect_err("nothing to replay");
    assert_eq!(reason(&gone), "TURN_NOT_FOUND");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_in_crumbs_is_whole_and_makes_few_events() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let crumbs = event(&says("x")).repeat(40_000);
    server.provider.reply(Reply::raw_sse([crumbs + &event(&finish("stop"))]));

    let seen = events_of(&client, run(start("Hello"))).await;

    assert_whole(&seen.events);
    assert_eq!(text_of(seen.turn()), "x".repeat(40_000));
    assert!(seen.turn().last_sequence < 17_000, "{} events", seen.turn().last_sequence);
    server.stop().await;
}
