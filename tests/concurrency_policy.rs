//! Two turns on one conversation: what becomes of the one that is in flight, by choice of whoever comes second.

use causerie::proto::{self, ConcurrencyPolicy, event::Kind, turn::State};
use tonic::Code;

use crate::support::{
    completion::{silence, stream_of},
    event_log,
    events::{Reader, Seen, assert_whole, events_of, full, names, resume, run, soon, watch},
    golden::assert_golden,
    provider::Reply,
    queued::{accepted, accepted_append, asked, cancel, log_of, next_asked, queued, version_of},
    reads,
    refusal::{fields, told, turn_reason},
    server::{Client, TestServer, append, start, text_of},
};
use causerie::proto::stream_events_request::Request;

/// An Append with a choice. ENQUEUE is queued, and its caller leaves.
fn with(policy: ConcurrencyPolicy, conversation_id: &str, input: &str) -> proto::AppendRequest {
    let background = policy == ConcurrencyPolicy::Enqueue;
    proto::AppendRequest { concurrency_policy: policy.into(), background, ..append(conversation_id, input) }
}

/// A conversation of one turn.
async fn begun(server: &TestServer, client: &Client) -> String {
    server.provider.reply(Reply::text("first"));
    let turn = client.clone().start(start("Hello")).await.expect("an answer").into_inner();
    server.provider.next_request().await;
    turn.conversation_id
}

/// A turn in flight on a version, whose provider has said "Once upon" and then nothing, or nothing at all.
async fn in_flight(server: &TestServer, client: &Client, on: &str, background: bool, talks: bool) -> (Reader, String) {
    server.provider.reply(if talks { stream_of(&["Once ", "upon"], "stop").cut_after(2).stall() } else { silence() });
    let request = proto::AppendRequest { background, ..append(on, "Tell a tale") };
    let mut reader = watch(client, full(Request::Append(request))).await;
    let id = if background { reader.queued().await } else { reader.started().await };
    assert_eq!(next_asked(&server.provider).await, "Tell a tale");
    if talks {
        reader.until("Once upon").await;
    }
    (reader, id)
}

/// What a log says of other turns: the other one, what was wanted, and whether this one came second.
fn conflicts(seen: &Seen) -> Vec<(String, ConcurrencyPolicy, bool)> {
    let conflicts = seen.events.iter().filter_map(|event| match &event.kind {
        Some(Kind::TurnConflict(met)) => Some((met.other_turn_id.clone(), met.policy(), met.newcomer)),
        _ => None,
    });
    conflicts.collect()
}

#[tokio::test]
async fn turns_that_wait_for_each_other_go_on_from_what_came_of_the_one_before() {
    for background in [false, true] {
        let server = TestServer::start().await;
        let client = server.client().await;
        let base = begun(&server, &client).await;
        let mut reply = Reply::text("a tale");
        let gate = reply.gate();
        server.provider.reply(reply);
        let request = proto::AppendRequest { background, ..append(&base, "Tell a tale") };
        let mut first = watch(&client, full(Request::Append(request))).await;
        let first_id = if background { first.queued().await } else { first.started().await };
        next_asked(&server.provider).await;
        server.provider.on_every(Reply::text("and more"));

        let second = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &base, "More")).await;
        let turn = reads::turn(&client, &second).await;
        assert_eq!((turn.state(), &turn.parent_conversation_id), (State::Queued, &version_of(&first_id)));
        assert_eq!(turn.background.expect("it waits").waits_for_turn_id, first_id);
        // On the version that is still to be made.
        let third = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &version_of(&second), "Yet more")).await;
        // And on the oldest one again.
        let unary = proto::AppendRequest { background: false, ..with(ConcurrencyPolicy::Enqueue, &base, "The end?") };
        let unary = tokio::spawn({
            let mut client = client.clone();
            async move { client.append(unary).await }
        });
        let mut reader = watch(&client, resume(&third, 0)).await;
        reader.until_kind("turn_conflict").await;
        reader.until_kind("turn_conflict").await;
        assert_eq!(server.provider.requests().len(), 2, "they wait");
        gate.open();

        let last = soon(unary).await.expect("no panic").expect("an answer").into_inner();
        assert_eq!((last.state(), &last.parent_conversation_id), (State::Completed, &version_of(&third)));
        let said = reads::texts(&client, &last.conversation_id).await;
        let questions = ["Hello", "Tell a tale", "More", "Yet more", "The end?"];
        assert_eq!(said.iter().step_by(2).collect::<Vec<_>>(), questions);
        let (first, second, third) = (first.rest().await, log_of(&client, &second).await, reader.rest().await);
        let enqueue = ConcurrencyPolicy::Enqueue;
        let id = |seen: &Seen| seen.turn_id().to_owned();
        assert_eq!(conflicts(&first), [(id(&second), enqueue, false)]);
        assert_eq!(conflicts(&second), [(id(&first), enqueue, true), (id(&third), enqueue, false)]);
        assert_eq!(conflicts(&third), [(id(&second), enqueue, true), (last.id.clone(), enqueue, false)]);
        for seen in [&first, &second, &third] {
            assert_whole(&seen.events);
        }
        if !background {
            let logs = [("the turn in flight", &first.events[..]), ("the one that waits for it", &second.events)];
            assert_golden("turns/policy_enqueue.jsonl", &event_log::told(&logs));
        }
        server.stop().await;
    }
}

/// Twenty at once are twenty in a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_at_the_same_time_make_no_siblings() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    let (first, first_id) = in_flight(&server, &client, &base, false, false).await;
    server.provider.on_every(Reply::text("ok"));
    let calls =
        (0..20).map(|number| accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &base, &format!("{number}"))));
    let turns = futures_util::future::join_all(calls).await;
    cancel(&client, &first_id).await;
    first.rest().await;
    let mut parents = std::collections::HashSet::new();
    for id in &turns {
        let done = log_of(&client, id).await;
        assert!(parents.insert(done.turn().parent_conversation_id.clone()), "two on one version");
    }
    assert!(parents.contains(&base));
    server.stop().await;
}

#[tokio::test]
async fn a_turn_goes_on_from_the_parent_if_nothing_came_of_the_one_before() {
    for background in [false, true] {
        let settings = [("background.max_attempts", "1")];
        let server = TestServer::with(&settings).await;
        let client = server.client().await;
        let base = begun(&server, &client).await;
        let (first, first_id) = in_flight(&server, &client, &base, background, false).await;
        let second = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &base, "second")).await;
        let third = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &version_of(&second), "third")).await;
        let fourth = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &base, "fourth")).await;
        // One that fails, one that is cancelled while it waits, and one that is cancelled while it runs.
        server.provider.reply(Reply::json(400, &serde_json::json!({"message": "never"})));
        server.provider.on_every(Reply::text("at last"));
        let gone = cancel(&client, &third).await;
        assert_eq!((gone.state(), turn_reason(&gone).as_str()), (State::Cancelled, "TURN_CANCELLED"));
        assert_eq!(reads::turn(&client, &fourth).await.state(), State::Queued, "the first one is not done");
        cancel(&client, &first_id).await;

        assert_eq!(told(log_of(&client, &second).await.error()).1, "INVALID_REQUEST");
        let done = log_of(&client, &fourth).await;
        assert_eq!(done.turn().parent_conversation_id, base);
        let said = reads::texts(&client, &version_of(&fourth)).await;
        assert_eq!(said, ["Hello", "first", "fourth", "at last"]);
        assert!(first.rest().await.status.is_some());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_turn_that_waits_for_a_start_has_nothing_to_go_on_from_if_that_fails() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(silence());
    let first = accepted(&client, queued("Hello")).await;
    next_asked(&server.provider).await;
    let second = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &version_of(&first), "And?")).await;
    cancel(&client, &first).await;
    let seen = log_of(&client, &second).await;
    assert_eq!(told(seen.error()), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn with_no_turn_in_flight_every_choice_is_an_append() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    server.provider.on_every(Reply::text("ok"));
    for policy in [ConcurrencyPolicy::Enqueue, ConcurrencyPolicy::Interrupt, ConcurrencyPolicy::Rollback] {
        let request = proto::AppendRequest { background: false, ..with(policy, &base, "And?") };
        let turn = client.clone().append(request.clone()).await.expect("an answer").into_inner();
        assert_eq!((turn.state(), &turn.parent_conversation_id), (State::Completed, &base), "{policy:?}");
        let seen = events_of(&client, full(Request::Append(request))).await;
        assert_eq!(conflicts(&seen), []);
    }
    server.stop().await;
}

/// Runs `policy` against a turn in flight: what became of both, the newcomer first.
async fn met(policy: ConcurrencyPolicy, kinds: (bool, bool), talks: bool) -> (Seen, Seen, Vec<String>, String) {
    let (incumbent, newcomer) = kinds;
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    let (first, first_id) = in_flight(&server, &client, &base, incumbent, talks).await;
    let behind = accepted_append(&client, with(ConcurrencyPolicy::Enqueue, &base, "behind it")).await;
    server.provider.on_every(Reply::text("Instead."));

    let request = proto::AppendRequest { background: newcomer, ..with(policy, &base, "No, that") };
    let second = events_of(&client, full(Request::Append(request))).await;

    soon(server.provider.connection_dropped()).await;
    let first = first.rest().await;
    let behind = log_of(&client, &behind).await;
    assert_eq!(names(&behind.events), ["turn_queued", "turn_conflict", "turn_conflict", "response_error"]);
    assert_eq!(told(behind.error()), (Code::Aborted, "TURN_CANCELLED".to_owned()));
    let second_id = second.turn_id().to_owned();
    assert_eq!(
        conflicts(&behind),
        [(first_id.clone(), ConcurrencyPolicy::Enqueue, true), (second_id.clone(), policy, false)]
    );
    let expected = [(behind.turn_id().to_owned(), ConcurrencyPolicy::Enqueue, false), (second_id, policy, false)];
    assert_eq!(conflicts(&first), expected);
    assert_eq!(conflicts(&second), [(first_id, policy, true)]);
    assert_whole(&first.events);
    assert_whole(&second.events);
    assert_eq!(reads::turn(&client, first.turn_id()).await.last_sequence, first.events.len() as i64);
    let said = reads::texts(&client, &second.turn().conversation_id).await;
    server.stop().await;
    (second, first, said, base)
}

const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

#[tokio::test]
async fn a_turn_that_is_interrupted_is_kept_and_gone_on_from() {
    for kinds in KINDS {
        let (second, first, said, _) = met(ConcurrencyPolicy::Interrupt, kinds, true).await;
        let stopped = first.turn();
        assert_eq!((stopped.state(), turn_reason(stopped).as_str()), (State::Incomplete, "TURN_CANCELLED"));
        assert_eq!(text_of(stopped), "Once upon");
        assert_eq!(second.turn().parent_conversation_id, stopped.conversation_id, "{kinds:?}");
        assert_eq!(said, ["Hello", "first", "Tell a tale", "Once upon", "No, that", "Instead."]);
        if kinds == (false, false) {
            let logs = [("the turn that is stopped", &first.events[..]), ("the one that stops it", &second.events)];
            assert_golden("turns/policy_interrupt.jsonl", &event_log::told(&logs));
        }
    }
}

#[tokio::test]
async fn a_turn_that_is_interrupted_before_it_says_anything_leaves_its_parent() {
    for kinds in KINDS {
        let (second, first, said, base) = met(ConcurrencyPolicy::Interrupt, kinds, false).await;
        assert_eq!(told(first.error()), (Code::Aborted, "TURN_CANCELLED".to_owned()));
        assert_eq!(second.turn().parent_conversation_id, base, "{kinds:?}");
        assert_eq!(said, ["Hello", "first", "No, that", "Instead."]);
    }
}

#[tokio::test]
async fn a_turn_that_is_rolled_back_is_kept_beside_the_other() {
    for kinds in KINDS {
        for talks in [false, true] {
            let (second, first, said, base) = met(ConcurrencyPolicy::Rollback, kinds, talks).await;
            assert_eq!(second.turn().parent_conversation_id, base, "{kinds:?}");
            assert_eq!(said, ["Hello", "first", "No, that", "Instead."]);
            match talks {
                true => {
                    assert_eq!((first.turn().state(), text_of(first.turn()).as_str()), (State::Incomplete, "Once upon"))
                }
                false => assert_eq!(told(first.error()).1, "TURN_CANCELLED"),
            }
        }
    }
}

/// The version that is named is the one that the turn in flight is to make.
#[tokio::test]
async fn a_turn_in_flight_can_be_named_by_the_version_that_it_makes() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    let mut on = Vec::new();
    for (policy, talks) in [
        (ConcurrencyPolicy::Interrupt, true),
        (ConcurrencyPolicy::Interrupt, false),
        (ConcurrencyPolicy::Rollback, true),
        (ConcurrencyPolicy::Rollback, false),
    ] {
        let (first, id) = in_flight(&server, &client, &base, true, talks).await;
        server.provider.reply(Reply::text("Instead."));
        let turn = client.clone().append(with(policy, &version_of(&id), "No, that")).await.expect("an answer");
        assert_eq!(next_asked(&server.provider).await, "No, that");
        let turn = turn.into_inner();
        first.rest().await;
        on.push((turn.parent_conversation_id == version_of(&id), turn.parent_conversation_id == base));
    }
    assert_eq!(on, [(true, false), (false, true), (false, true), (false, true)]);
    server.stop().await;
}

#[tokio::test]
async fn a_fork_leaves_the_turn_in_flight_alone() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    let (first, first_id) = in_flight(&server, &client, &base, false, true).await;
    server.provider.reply(Reply::text("Beside it."));
    let turn = client.clone().append(with(ConcurrencyPolicy::Fork, &base, "Or this")).await.expect("an answer");
    assert_eq!(turn.into_inner().parent_conversation_id, base);
    assert_eq!(reads::turn(&client, &first_id).await.state(), State::Running);
    cancel(&client, &first_id).await;
    assert_eq!(conflicts(&first.rest().await), []);
    server.stop().await;
}

/// Who is refused must not have stopped anybody.
#[tokio::test]
async fn a_request_that_is_refused_stops_no_turn() {
    let settings = [("providers.mistral.caller_keys", "true"), ("background.max_queued", "1")];
    let server = TestServer::with(&settings).await;
    let mut client = server.client().await;
    let base = begun(&server, &client).await;
    let (first, first_id) = in_flight(&server, &client, &base, true, true).await;
    let interrupt = || proto::AppendRequest { background: true, ..with(ConcurrencyPolicy::Interrupt, &base, "No") };

    let mut with_key = tonic::Request::new(interrupt());
    with_key.metadata_mut().insert("x-provider-api-key", "mine".parse().expect("a value"));
    assert_eq!(fields(&client.append(with_key).await.expect_err("it would be kept")), ["x-provider-api-key"]);
    let full = client.append(interrupt()).await.expect_err("no room");
    assert_eq!(told(&full).1, "OVERLOADED");
    let nobody =
        proto::AppendRequest { agent_id: "agent_nobody".to_owned(), ..with(ConcurrencyPolicy::Rollback, &base, "No") };
    assert!(client.append(nobody).await.is_err());
    let request = with(ConcurrencyPolicy::Interrupt, &base, "No");
    let rows = [
        (proto::AppendRequest { require_head: true, ..request.clone() }, "require_head"),
        (proto::AppendRequest { store: Some(false), ..request.clone() }, "concurrency_policy"),
        (proto::AppendRequest { concurrency_policy: 9, ..request }, "concurrency_policy"),
    ];
    for (request, field) in rows {
        assert_eq!(fields(&client.append(request).await.expect_err(field)), [field]);
    }
    let restart = proto::RestartRequest {
        conversation_id: base.clone(),
        from_entry_id: reads::history(&client, &base).await[0].id.clone(),
        concurrency_policy: ConcurrencyPolicy::Enqueue.into(),
        ..Default::default()
    };
    assert_eq!(fields(&client.restart(restart).await.expect_err("not for Restart")), ["concurrency_policy"]);

    assert_eq!(reads::turn(&client, &first_id).await.state(), State::Running);
    cancel(&client, &first_id).await;
    assert_eq!(conflicts(&first.rest().await), []);
    server.stop().await;
}

#[tokio::test]
async fn whoever_enqueues_and_leaves_does_not_stop_the_turn() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let base = begun(&server, &client).await;
    let mut reply = Reply::text("a tale");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut first = watch(&client, full(Request::Append(append(&base, "Tell a tale")))).await;
    first.started().await;
    next_asked(&server.provider).await;
    server.provider.on_every(Reply::text("ok"));
    let request = proto::AppendRequest { background: false, ..with(ConcurrencyPolicy::Enqueue, &base, "And?") };
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.append(request).await }
    });
    let met = first.until_kind("turn_conflict").await;
    let Some(Kind::TurnConflict(met)) = &met.kind else { panic!("{met:?}") };
    let mut waiting = watch(&client, resume(&met.other_turn_id, 0)).await;
    waiting.queued().await;
    call.abort();
    gate.open();
    let done = waiting.rest().await;
    assert_eq!((done.turn().state(), text_of(done.turn()).as_str()), (State::Completed, "ok"));
    assert_eq!(asked(&server.provider.requests()[2]), "And?");
    let other = events_of(&client, run(start("Hello"))).await;
    assert_eq!(other.turn().state(), State::Completed);
    server.stop().await;
}
