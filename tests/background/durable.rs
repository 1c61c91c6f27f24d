//! Background turns whose server goes down: it is killed, or drained, and the next one goes on.

use causerie::proto::{self, event::Kind, turn::State};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{
    calls,
    completion::silence,
    event_log,
    events::{Seen, assert_gapless, assert_whole, events_of, joined, name, names, resume, soon, watch},
    golden::assert_golden,
    process::{self, Flags, Process},
    provider::{Reply, ScriptedProvider},
    queued::{accepted, accepted_append, cancel, log_of, next_asked, queued, queued_append, version_of},
    reads,
    refusal::told,
    server::{TestServer, start, text_of},
};

struct Ground {
    provider: ScriptedProvider,
    flags: Flags,
    _dir: TempDir,
}

impl Ground {
    async fn new() -> Ground {
        let provider = ScriptedProvider::start().await;
        let dir = TempDir::new().expect("a temporary folder");
        let mut flags = process::flags(&dir.path().join("store"), &provider.base_url());
        flags.insert("--retry-max-attempts", "1".to_owned());
        Ground { provider, flags, _dir: dir }
    }
}

/// The attempts that were told as resumed.
fn resumed(seen: &Seen) -> Vec<i32> {
    let resumed = seen.events.iter().filter_map(|event| match &event.kind {
        Some(Kind::TurnResumed(resumed)) => Some(resumed.attempt),
        _ => None,
    });
    resumed.collect()
}

#[tokio::test]
async fn a_turn_that_was_acknowledged_is_run_whenever_the_server_dies() {
    let ground = Ground::new().await;
    ground.provider.on_every(silence());
    let process = Process::start(&ground.flags).await;
    let id = accepted(&process.client().await, queued("Hello")).await;
    process.kill();

    let process = Process::start(&ground.flags).await;
    let mut client = process.client().await;
    let turn = calls::get_turn(&mut client, &id).await.expect("it was acknowledged");
    assert!(matches!(turn.state(), State::Queued | State::Running), "{turn:?}");
    // Also in the middle of an attempt that nobody reads.
    soon(ground.provider.next_request()).await;
    process.kill();

    ground.provider.on_every(Reply::text("at last"));
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    let seen = log_of(&client, &id).await;
    assert_whole(&seen.events);
    assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Completed, "at last"));
    assert_eq!(reads::texts(&client, &version_of(&id)).await, ["Hello", "at last"]);
    assert_eq!(calls::list_all(&mut client.clone()).await.len(), 1);
    assert_eq!(process.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_when_the_server_died_in_the_middle_of_the_answer() {
    let ground = Ground::new().await;
    let mut reply = Reply::text("one two three four");
    let gate = reply.gate();
    ground.provider.reply(reply);
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    let id = accepted(&client, queued("Hello")).await;
    let mut reader = watch(&client, resume(&id, 0)).await;
    reader.queued().await;
    (0..4).for_each(|_| gate.step());
    reader.until("one two ").await;
    let seen = reader.leave();
    process.kill();

    let mut reply = Reply::text("five six");
    let gate = reply.gate();
    ground.provider.reply(reply);
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    let last = seen.last().expect("events").sequence;
    let mut reader = watch(&client, resume(&id, last)).await;
    let first = reader.next().await;
    let Some(Kind::TurnResumed(resumed)) = &first.kind else { panic!("{first:?}") };
    assert_eq!((resumed.attempt, resumed.kept_output_count, first.sequence), (2, 0, last + 1));
    gate.open();
    let rest = reader.rest().await;

    assert_gapless(&rest.events, last + 1);
    assert_eq!(
        names(&rest.events)[1..],
        ["message_output_delta", "message_output_delta", "entry_done", "response_done"]
    );
    assert_eq!(text_of(rest.turn()), "five six");
    let whole = log_of(&client, &id).await;
    assert_whole(&whole.events);
    assert_eq!(whole.events[..seen.len()], seen);
    assert_eq!(whole.events[seen.len()..], rest.events);
    assert_golden("turns/background_resumed.jsonl", &event_log::told(&[("after a kill", &whole.events)]));
    assert_eq!(reads::texts(&client, &version_of(&id)).await, ["Hello", "five six"]);
    assert_eq!(ground.provider.requests().len(), 2);
    assert_eq!(calls::list_all(&mut client.clone()).await.len(), 1);
    process.kill();
    // What is stored is what was read.
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    for after in [0, 1, last, last + 1] {
        let again = events_of(&client, resume(&id, after)).await;
        assert_eq!(again.events, whole.events[after as usize..], "after {after}");
    }
    assert_eq!(ground.provider.requests().len(), 2);
    assert_eq!(process.stop().await.code, Some(0));
}

/// However often it dies: a reader that comes back to each of them sees one log.
#[tokio::test]
async fn a_reader_sees_one_log_through_many_deaths() {
    let ground = Ground::new().await;
    let mut reply = Reply::text("one two three four");
    let gate = reply.gate();
    ground.provider.on_every(reply);
    let mut process = Process::start(&ground.flags).await;
    let id = accepted(&process.client().await, queued("Hello")).await;
    let mut seen: Vec<proto::Event> = Vec::new();
    for _ in 0..4 {
        let after = seen.last().map_or(0, |event| event.sequence);
        let mut reader = watch(&process.client().await, resume(&id, after)).await;
        // The headers, a chunk without text, and two with it.
        (0..4).for_each(|_| gate.step());
        let mut deltas = 0;
        while deltas < 2 {
            deltas += usize::from(name(&reader.next().await) == "message_output_delta");
        }
        seen.extend(reader.leave());
        process.kill();
        process = Process::start(&ground.flags).await;
    }
    let client = process.client().await;
    let mut reader = watch(&client, resume(&id, seen.last().expect("events").sequence)).await;
    seen.push(reader.next().await);
    gate.open();
    let rest = reader.rest().await;
    seen.extend(rest.events[1..].iter().cloned());
    let whole = log_of(&client, &id).await;
    assert_eq!(whole.events, seen);
    assert_whole(&whole.events);
    assert_eq!(resumed(&whole), [2, 3, 4, 5]);
    assert_eq!(calls::list_all(&mut client.clone()).await.len(), 1);
    assert_eq!(process.stop().await.code, Some(0));
}

#[tokio::test]
async fn turns_that_follow_each_other_keep_their_order_through_a_death() {
    let ground = Ground::new().await;
    ground.provider.reply(Reply::text("first"));
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    let base = client.clone().start(start("Hello")).await.expect("an answer").into_inner().conversation_id;
    ground.provider.on_every(silence());
    let mut chain = Vec::new();
    for number in 1..=3 {
        let request = proto::AppendRequest {
            concurrency_policy: proto::ConcurrencyPolicy::Enqueue.into(),
            ..queued_append(&base, &format!("question {number}"))
        };
        chain.push(accepted_append(&client, request).await);
    }
    while next_asked(&ground.provider).await != "question 1" {}
    // What it waited for is found again, too, where the one between them is gone.
    cancel(&client, &chain[1]).await;
    process.kill();

    let mut reply = Reply::text("ok");
    let gate = reply.gate();
    ground.provider.on_every(reply);
    let process = Process::start(&ground.flags).await;
    let client = process.client().await;
    while next_asked(&ground.provider).await != "question 1" {}
    assert_eq!(reads::turn(&client, &chain[2]).await.state(), State::Queued);
    gate.open();
    log_of(&client, &chain[2]).await;
    let said = reads::texts(&client, &version_of(&chain[2])).await;
    assert_eq!(said, ["Hello", "first", "question 1", "ok", "question 3", "ok"]);
    assert_eq!(process.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_server_that_is_drained_hands_its_turns_to_the_next_one() {
    let settings = [("shutdown.grace", "1s"), ("background.max_running", "1")];
    let mut server = TestServer::with(&settings).await;
    let client = server.client().await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let running = accepted(&client, queued("running")).await;
    let waiting = accepted(&client, queued("waiting")).await;
    let mut reader = watch(&client, resume(&running, 0)).await;
    reader.queued().await;
    (0..4).for_each(|_| gate.step());
    reader.until("one two ").await;
    let mut patient = watch(&client, resume(&waiting, 0)).await;
    patient.queued().await;
    let enqueued = proto::AppendRequest {
        concurrency_policy: proto::ConcurrencyPolicy::Enqueue.into(),
        ..crate::support::server::append(&version_of(&waiting), "waits for its end")
    };
    let unary = tokio::spawn({
        let mut client = client.clone();
        async move { client.append(enqueued).await }
    });
    patient.until_kind("turn_conflict").await;

    let stopped = server.begin_stop();
    let (reader, patient) = (reader.rest().await, patient.rest().await);
    let unary = soon(unary).await.expect("no panic").expect_err("it goes on later");
    soon(stopped).await.expect("no panic").expect("a good end");

    for (status, code) in
        [(reader.error(), Code::Aborted), (patient.error(), Code::Unavailable), (&unary, Code::Unavailable)]
    {
        assert_eq!(told(status), (code, "SHUTTING_DOWN".to_owned()));
    }
    assert_eq!(names(&patient.events), ["turn_queued", "turn_conflict"]);
    assert_eq!(joined(&reader.events), "one two ");
    server.provider.on_every(Reply::text("four five"));
    server.start_again().await;
    let client = server.client().await;
    let last = reader.events.len() as i64;
    let rest = events_of(&client, resume(&running, last)).await;
    assert_eq!(name(&rest.events[0]), "turn_resumed");
    assert_gapless(&rest.events, last + 1);
    let whole = log_of(&client, &running).await;
    assert_whole(&whole.events);
    assert_eq!(whole.events, [reader.events, rest.events].concat());
    let after = log_of(&client, &waiting).await;
    assert_whole(&after.events);
    assert_eq!(after.events[..2], patient.events);
    assert_eq!(resumed(&after), [0; 0], "it had not begun");
    let versions = loop {
        let versions = calls::list_all(&mut client.clone()).await;
        if versions.len() == 3 {
            break versions;
        }
    };
    assert_eq!(versions[0].parent_id, version_of(&waiting), "the last one goes on from the one that it followed");
    server.stop().await;
}
