//! What a history's turns used together, wherever it is cut.

use std::sync::Arc;

use causerie::{
    domain::{ConversationId, Money, Settings, Spend, Time, TurnState, Usage, Version},
    store::{Commit, Ended, Store, Stored},
};

use super::{open, records, sample::Maker};

/// A turn of one input and one output, which used so many tokens and picodollars.
async fn turn(store: &Store, maker: &mut Maker, parent: &Stored, kept: u64, tokens: u64) -> Stored {
    let id = maker.uuid();
    let (inputs, outputs) = (vec![maker.user(9)], vec![maker.user(9)]);
    let turn = maker.turn(id, Some(parent.version.id), outputs, TurnState::Completed);
    let before = store.spend_at(parent, kept).expect("readable");
    let usage = Usage { total_tokens: tokens, ..Usage::default() };
    let version = Version {
        id: ConversationId(id),
        parent_id: Some(parent.version.id),
        entry_count: kept + 2,
        spend: before.and(&usage, Some(Money::new(0, tokens as i64))),
        settings: Arc::clone(&parent.version.settings),
        ..parent.version.clone()
    };
    let parent = Some(parent.clone());
    let (events, charges) = (maker.events(&turn, &inputs), Vec::new());
    let commit = Commit {
        version,
        parent,
        kept,
        inputs,
        turn,
        events,
        request: None,
        require_head: false,
        charges,
        journaled: false,
        job: None,
        at: Time::of_uuid(id),
        callback_url: None,
        expires_at: None,
    };
    store.commit(commit).await.expect("committed")
}

fn tokens(spend: &Spend) -> u64 {
    assert_eq!(spend.cost, Money::new(0, spend.usage.total_tokens as i64));
    spend.usage.total_tokens
}

/// The spend of each part of a history.
fn spends(store: &Store, of: &Stored) -> Vec<u64> {
    (0..=of.version.entry_count).map(|keep| tokens(&store.spend_at(of, keep).expect("readable"))).collect()
}

#[tokio::test]
async fn only_turns_whose_outputs_are_kept_count() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(1);
    // Written before spending was: it has one input, and no spend.
    let id = maker.uuid();
    let oldest = maker.turn(id, None, Vec::new(), TurnState::Completed);
    let inputs = vec![maker.user(9)];
    let ended = Ended { turn: oldest, inputs, events: Vec::new(), request_fingerprint: None, kept: 0 };
    let mut commit = records::start(&ended, Settings::default(), None);
    commit.version.spend = Spend::default();
    let root = store.commit(commit).await.expect("committed");
    let first = turn(&store, &mut maker, &root, 1, 10).await;
    let second = turn(&store, &mut maker, &first, 3, 100).await;
    let third = turn(&store, &mut maker, &second, 5, 1000).await;
    assert_eq!(spends(&store, &third)[1..], [0, 0, 10, 10, 110, 110, 1110]);
    // Again from the second question: the second answer and all behind it are dropped.
    let fork = turn(&store, &mut maker, &third, 4, 10_000).await;
    assert_eq!(spends(&store, &fork)[1..], [0, 0, 10, 10, 10, 10_010]);
    // A fork of the fork, in what both share, and in what is its own.
    let shared = turn(&store, &mut maker, &fork, 3, 100_000).await;
    assert_eq!(spends(&store, &shared)[1..], [0, 0, 10, 10, 100_010]);
    let own = turn(&store, &mut maker, &fork, 5, 1_000_000).await;
    assert_eq!(spends(&store, &own)[1..], [0, 0, 10, 10, 10, 10, 1_000_010]);
    let anew = turn(&store, &mut maker, &own, 0, 5).await;
    assert_eq!(spends(&store, &anew), [0, 0, 5]);
    let on = turn(&store, &mut maker, &own, 7, 1).await;
    drop(store);
    let store = open(dir.path());
    assert_eq!(spends(&store, &on)[5..], [10, 10, 1_000_010, 1_000_010, 1_000_011]);
}
