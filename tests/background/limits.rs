//! Which background turns run at once, and in which order.

use std::{collections::HashMap, time::SystemTime};

use causerie::proto::{self, BackgroundOptions, turn::State};
use tonic::Code;

use crate::support::{
    completion::silence,
    events::{resume, soon, watch},
    provider::{Captured, Reply},
    queued::{accepted, accepted_append, asked, cancel, log_of, next_asked, queued, queued_append, queued_on},
    reads,
    refusal::{told, value},
    server::{Client, TestServer, start},
};

fn with(options: BackgroundOptions, input: &str) -> proto::StartRequest {
    proto::StartRequest { background_options: Some(options), ..queued(input) }
}

/// How many of these turns run, and how many wait.
async fn standing(client: &Client, turns: &[String]) -> (usize, usize) {
    let mut states = Vec::new();
    for id in turns {
        states.push(reads::turn(client, id).await.state());
    }
    let count = |state| states.iter().filter(|other| **other == state).count();
    (count(State::Running), count(State::Queued))
}

#[tokio::test]
async fn so_many_run_at_once_and_no_more() {
    let server = TestServer::with(&[("background.max_running", "3")]).await;
    let client = server.client().await;
    let (mut turns, mut gates) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (model, mut reply) = (format!("model-{number}"), Reply::text("ok"));
        gates.push(reply.gate());
        server.provider.on_model(&model, [reply]);
        turns.push(accepted(&client, queued_on(&model, "Hello")).await);
    }
    for _ in 0..3 {
        soon(server.provider.next_request()).await;
    }
    for ended in 0..8 {
        let begun = (ended + 3).min(8);
        assert_eq!(
            (server.provider.requests().len(), standing(&client, &turns).await),
            (begun, (begun - ended, 8 - begun))
        );
        gates[ended].open();
        assert_eq!(log_of(&client, &turns[ended]).await.turn().state(), State::Completed);
        if begun < 8 {
            assert_eq!(soon(server.provider.next_request()).await.json["model"], format!("model-{begun}"));
        }
    }
    server.stop().await;
}

fn of_model(requests: &[Captured], model: &str) -> usize {
    requests.iter().filter(|request| request.json["model"] == model).count()
}

#[tokio::test]
async fn a_provider_and_a_tree_have_limits_of_their_own() {
    let other = crate::support::provider::ScriptedProvider::start().await;
    let settings = [("background.max_running_per_provider", "2"), ("background.max_running_per_conversation", "1")];
    let server = TestServer::configured(&crate::support::forwarding::other(&other), &settings).await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("first"));
    let tree = client.start(start("Hello")).await.expect("an answer").into_inner().conversation_id;
    server.provider.on_every(silence());
    other.on_every(silence());

    let mut turns = Vec::new();
    for number in 0..2 {
        turns.push(accepted_append(&client, queued_append(&tree, &format!("tree {number}"))).await);
    }
    for number in 0..2 {
        turns.push(accepted(&client, queued_on("mine", &format!("mine {number}"))).await);
    }
    let elsewhere = accepted(&client, queued_on("other/theirs", "elsewhere")).await;

    assert_eq!(asked(&soon(other.next_request()).await), "elsewhere");
    for _ in 0..3 {
        soon(server.provider.next_request()).await;
    }
    let requests = server.provider.requests();
    assert_eq!((of_model(&requests, "scripted-model"), of_model(&requests, "mine")), (2, 1), "the first one too");
    assert_eq!(standing(&client, &turns).await, (2, 2));
    // The provider has room again, and the tree is busy.
    cancel(&client, &turns[2]).await;
    assert_eq!(next_asked(&server.provider).await, "mine 1");
    // The tree is free again.
    cancel(&client, &turns[0]).await;
    assert_eq!(next_asked(&server.provider).await, "tree 1");
    for id in [&turns[1], &turns[3], &elsewhere] {
        cancel(&client, id).await;
    }
    server.stop().await;
}

/// The order in which turns come to the provider that are queued while it is busy with another one.
async fn order_of(requests: Vec<proto::StartRequest>) -> Vec<String> {
    let server = TestServer::with(&[("background.max_running", "1")]).await;
    let client = server.client().await;
    server.provider.reply(silence());
    let first = accepted(&client, queued("first")).await;
    next_asked(&server.provider).await;
    server.provider.on_every(Reply::text("ok"));
    let mut turns = Vec::new();
    for request in requests {
        turns.push(accepted(&client, request).await);
    }
    cancel(&client, &first).await;
    let mut order = Vec::new();
    for _ in &turns {
        order.push(next_asked(&server.provider).await);
    }
    for id in turns {
        log_of(&client, &id).await;
    }
    server.stop().await;
    order
}

#[tokio::test]
async fn a_higher_priority_goes_first_and_equals_in_their_order() {
    let at = |priority, input: &str| with(BackgroundOptions { priority, ..Default::default() }, input);
    let order = order_of(vec![at(-100, "last"), at(0, "a"), at(0, "b"), at(100, "first"), queued("c")]).await;
    assert_eq!(order, ["first", "a", "b", "c", "last"]);
}

#[tokio::test]
async fn whoever_queues_many_does_not_hold_up_whoever_queues_one() {
    let of = |key: &str, number: usize| {
        let options = BackgroundOptions { fairness_key: key.to_owned(), ..Default::default() };
        with(options, &format!("{key} {number}"))
    };
    let requests = (0..20).map(|number| of("many", number)).chain([of("few", 0), of("few", 1), of("one", 0)]);
    let order = order_of(requests.collect()).await;
    let place: HashMap<&str, usize> = order.iter().map(String::as_str).zip(0..).collect();
    assert!(place["few 0"] < 3 && place["one 0"] < 4 && place["few 1"] < 6, "{order:?}");
    let many: Vec<&String> = order.iter().filter(|input| input.starts_with("many")).collect();
    assert_eq!(many, (0..20).map(|number| format!("many {number}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_turn_waits_for_its_time_and_holds_up_no_other() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let at = |ms: u64| {
        let due = now + std::time::Duration::from_millis(ms);
        let seconds = i64::try_from(due.as_secs()).expect("a time");
        prost_types::Timestamp { seconds, nanos: i32::try_from(due.subsec_nanos()).expect("a part") / 1000 * 1000 }
    };
    let not_before = |ms| BackgroundOptions { not_before: Some(at(ms)), ..Default::default() };
    let far = accepted(&client, with(not_before(3_600_000), "far")).await;
    let soon_due = accepted(&client, with(not_before(400), "soon")).await;
    let at_once = accepted(&client, queued("at once")).await;

    assert_eq!(next_asked(&server.provider).await, "at once");
    log_of(&client, &at_once).await;
    let mut reader = watch(&client, resume(&soon_due, 0)).await;
    reader.queued().await;
    let waiting = reads::turn(&client, &soon_due).await;
    assert_eq!((waiting.state(), waiting.background.expect("it waits").not_before), (State::Queued, Some(at(400))));
    let started = reader.until_kind("response_started").await.created_at.expect("a time");
    assert!((started.seconds, started.nanos) >= (at(400).seconds, at(400).nanos), "{started:?}");
    assert_eq!(reader.rest().await.turn().state(), State::Completed);
    assert_eq!(reads::turn(&client, &far).await.state(), State::Queued);
    assert_eq!(cancel(&client, &far).await.state(), State::Cancelled);
    assert_eq!(server.provider.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_direct_turns_are_not() {
    let settings = [("background.max_queued", "2"), ("turns.max_in_flight", "1")];
    let server = TestServer::with(&settings).await;
    let mut client = server.client().await;
    server.provider.on_model("slow", [silence()]);
    let turns = [accepted(&client, queued_on("slow", "one")).await, accepted(&client, queued_on("slow", "two")).await];
    for _ in &turns {
        soon(server.provider.next_request()).await;
    }
    let refused = client.start(queued("three")).await.expect_err("there is no room");
    assert_eq!(told(&refused), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert_eq!(value(&refused, "max_queued"), "2");
    server.provider.reply(Reply::text("direct"));
    assert_eq!(client.start(start("Hello")).await.expect("an answer").into_inner().state(), State::Completed);
    // One that is full of direct turns takes background turns all the same.
    cancel(&client, &turns[0]).await;
    server.provider.reply(silence());
    let mut direct = watch(&client, crate::support::events::run(start("Hello"))).await;
    let direct_id = direct.started().await;
    let third = accepted(&client, queued_on("slow", "three")).await;
    for id in [&turns[1], &third, &direct_id] {
        cancel(&client, id).await;
    }
    server.stop().await;
}
