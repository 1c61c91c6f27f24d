//! ListTurns: what the filters let through, in pages that are a whole, whatever others write and whichever turns end.

use std::collections::BTreeMap;

use causerie::proto::{self, batch_result, batch_service_client::BatchServiceClient, run_batch_request, turn::State};
use tonic::Code;

use super::{
    cancel, for_tomorrow, get,
    model::{Known, Model, some_metadata},
    queue, silent_turn,
};
use crate::support::{
    completion::stream_of,
    events::{run, soon, watch},
    random::{Dice, rounds},
    refusal::{fields, told},
    server::{Client, TestServer, start},
};

type Filter = proto::ListTurnsRequest;

async fn list(client: &mut Client, mut filter: Filter) -> Vec<proto::Turn> {
    let mut turns = Vec::new();
    loop {
        let page = client.list_turns(filter.clone()).await.expect("a page").into_inner();
        assert!(filter.page_size == 0 || page.turns.len() <= filter.page_size as usize);
        turns.extend(page.turns);
        filter.page_token = page.next_page_token;
        if filter.page_token.is_empty() {
            return turns;
        }
    }
}

async fn ids(client: &mut Client, filter: Filter) -> Vec<String> {
    list(client, filter).await.into_iter().map(|turn| turn.id).collect()
}

/// A filter that lets some of them through, and the tree that it names.
fn some_filter(dice: &mut Dice, model: &Model) -> (Filter, Option<String>) {
    let all = [State::Queued, State::Running, State::Completed, State::Failed, State::Cancelled, State::Incomplete];
    let states = if dice.one_in(2) { Vec::new() } else { (0..2).map(|_| (*dice.pick(&all)).into()).collect() };
    let known: Vec<&Known> = model.turns.iter().filter(|turn| turn.root.is_some()).collect();
    // By any version of the tree, one that is still to be made too.
    let of = (!known.is_empty() && dice.one_in(3)).then(|| *dice.pick(&known));
    let of = of.filter(|turn| [State::Completed, State::Queued, State::Running].contains(&turn.state));
    let bound = |dice: &mut Dice| {
        let ms = (!model.turns.is_empty() && dice.one_in(3)).then(|| dice.pick(&model.turns).ms());
        ms.map(|ms| prost_types::Timestamp { seconds: ms / 1000, nanos: (ms % 1000 * 1_000_000) as i32 })
    };
    let filter = Filter {
        page_size: 1 + dice.below(9) as i32,
        states,
        tree_of: of.map(|turn| turn.id.replace("turn_", "conv_")).unwrap_or_default(),
        metadata: if dice.one_in(2) { some_metadata(dice) } else { BTreeMap::new() },
        created_after: bound(dice),
        created_before: bound(dice),
        ..Filter::default()
    };
    (filter, of.and_then(|turn| turn.root.clone()))
}

#[tokio::test]
async fn lists_are_those_of_a_plain_model() {
    let mut dice = Dice::seeded_by("CAUSERIE_TURNS_SEED");
    let mut server = TestServer::with(&[("store.sync", "false")]).await;
    let mut model = Model::new(&server);
    for restarted in [false, true] {
        let mut client = server.client().await;
        for _ in 0..rounds("CAUSERIE_TURNS_ROUNDS", 120) {
            model.step(&mut dice, &server, &mut client).await;
        }
        for _ in 0..150 {
            let (filter, root) = some_filter(&mut dice, &model);
            let expected = model.listed(&filter, root.as_ref());
            let listed = ids(&mut client, filter.clone()).await;
            let wrong = |id: &&String| !listed.contains(id) || !expected.contains(id);
            let wrong =
                expected.iter().chain(&listed).find(wrong).map(|id| model.turns.iter().find(|turn| turn.id == **id));
            assert!(
                listed == expected,
                "restarted: {restarted}, {filter:?}: {listed:?}, not {expected:?}; see {wrong:?}"
            );
        }
        model.settle(&mut client).await;
        server.restart().await;
    }
    let mut client = server.client().await;
    let all = list(&mut client, Filter::default()).await;
    let listed: Vec<_> = all.iter().map(|turn| turn.id.clone()).collect();
    assert_eq!(listed, model.listed(&Filter::default(), None));
    for turn in all {
        // What GetTurn says, but for what came out.
        let whole = get(&mut client, &turn.id).await.expect("a turn that is listed is there");
        assert_eq!(turn, proto::Turn { outputs: Vec::new(), ..whole });
    }
    server.stop().await;
}

/// Turns end while the list is read, and others begin: each that was there at first is listed, once, in its place.
#[tokio::test]
async fn pages_are_stable_while_turns_begin_and_end() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut expected = Vec::new();
    let (mut gates, mut readers) = (Vec::new(), Vec::new());
    for n in 0..12 {
        let mut answer = stream_of(&["Done"], "stop");
        gates.push(answer.gate());
        server.provider.reply(answer);
        let mut reader = watch(&client, run(start(&n.to_string()))).await;
        expected.push(reader.started().await);
        server.provider.next_request().await;
        readers.push(reader);
        expected.push(queue(&mut client, for_tomorrow("later")).await);
    }
    expected.reverse();
    let mut seen = Vec::new();
    let mut filter = Filter { page_size: 3, ..Filter::default() };
    // The oldest turns end first, so that they are in flight when the list begins, and versions when it comes to them.
    let mut ending = gates.into_iter().zip(readers);
    loop {
        let page = client.list_turns(filter.clone()).await.expect("a page").into_inner();
        seen.extend(page.turns.into_iter().map(|turn| turn.id));
        if let Some((gate, reader)) = ending.next() {
            gate.open();
            assert_eq!(reader.rest().await.turn().state(), State::Completed);
        }
        let waits = Filter { states: vec![State::Queued.into()], page_size: 1000, ..Filter::default() };
        if let Some(oldest) = ids(&mut client, waits).await.pop() {
            cancel(&mut client, &oldest).await;
        }
        client.start(proto::StartRequest { skip_completion: true, ..start("meanwhile") }).await.expect("stored");
        filter.page_token = page.next_page_token;
        if filter.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, expected);
    for (gate, reader) in ending {
        gate.open();
        reader.rest().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn turns_that_leave_no_trace_are_not_listed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(crate::support::completion::silence());
    let aside = proto::StartRequest { store: Some(false), ..start("aside") };
    let mut reader = watch(&client, run(aside)).await;
    let aside = reader.started().await;
    let (_kept_alive, running) = silent_turn(&server, &client).await;

    assert_eq!(ids(&mut client, Filter::default()).await, std::slice::from_ref(&running));
    assert_eq!(get(&mut client, &aside).await.expect("it is in flight").id, aside);
    cancel(&mut client, &aside).await;
    cancel(&mut client, &running).await;
    server.stop().await;
}

/// Of a batch those that wait or run; the others are told by the batch itself.
#[tokio::test]
async fn the_turns_of_a_batch_are_listed_until_they_have_ended() {
    let server = TestServer::with(&[("events.heartbeat", "1s")]).await;
    let mut client = server.client().await;
    let options = run_batch_request::Kind::Options(proto::BatchOptions::default());
    let items = (0..3).map(|index| {
        let start = proto::StartRequest { background: false, ..for_tomorrow("of a batch") };
        let request = Some(proto::batch_item::Request::Start(start));
        run_batch_request::Kind::Item(proto::BatchItem { index, request })
    });
    let sent =
        [options].into_iter().chain(items).map(|kind| proto::RunBatchRequest { kind: Some(kind), after_sequence: 0 });
    let mut batches = BatchServiceClient::new(server.channel().await);
    let answers = batches.run_batch(tokio_stream::iter(sent.collect::<Vec<_>>())).await.expect("a stream");
    let mut answers = answers.into_inner();
    let batch = soon(async {
        loop {
            let answer = answers.message().await.expect("no error").expect("it has not ended");
            match answer.kind {
                Some(batch_result::Kind::Batch(batch)) if batch.item_count == 3 => return batch,
                _ => {}
            }
        }
    })
    .await;
    let other = queue(&mut client, for_tomorrow("of none")).await;
    let of_batch = |states: &[State]| Filter {
        batch_id: batch.id.clone(),
        states: states.iter().map(|state| (*state).into()).collect(),
        page_size: 2,
        ..Filter::default()
    };

    let waiting = list(&mut client, of_batch(&[])).await;

    let mut places: Vec<i32> =
        waiting.iter().map(|turn| turn.background.as_ref().expect("it waits").batch_index).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
    assert!(waiting.iter().all(|turn| turn.background.as_ref().is_some_and(|place| place.batch_id == batch.id)));
    assert!(ids(&mut client, of_batch(&[State::Running])).await.is_empty());
    cancel(&mut client, &waiting[1].id).await;
    assert_eq!(ids(&mut client, of_batch(&[])).await, [waiting[0].id.clone(), waiting[2].id.clone()]);
    assert_eq!(ids(&mut client, Filter::default()).await.len(), 4);
    cancel(&mut client, &other).await;
    let request = proto::CancelBatchRequest { batch_id: batch.id.clone() };
    batches.cancel_batch(request).await.expect("it is cancelled");
    // The call ends when the last item has.
    soon(async { while answers.message().await.expect("no error").is_some() {} }).await;
    assert!(ids(&mut client, of_batch(&[])).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let wrong = Filter {
        page_size: -1,
        states: vec![0, 99],
        tree_of: "turn_1".to_owned(),
        batch_id: "conv_1".to_owned(),
        ..Filter::default()
    };
    let refused = client.list_turns(wrong).await.expect_err("nothing of it is right");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["page_size", "states[0]", "states[1]", "tree_of", "batch_id"]);
    let unknown = Filter { tree_of: "conv_019f0000000070008000000000000000".to_owned(), ..Filter::default() };
    let refused = client.list_turns(unknown).await.expect_err("no such tree");
    assert_eq!(told(&refused), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    let batch = Filter { batch_id: "batch_019f0000000070008000000000000000".to_owned(), ..Filter::default() };
    queue(&mut client, for_tomorrow("of no batch")).await;
    assert_eq!(ids(&mut client, batch).await, [""; 0]);
    server.stop().await;
}
