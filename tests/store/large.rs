//! Trees and stores of sizes at which the store changes its ways.

use std::sync::Arc;

use causerie::{
    domain::{ConversationId, Settings, Time, TurnState},
    store::{Ended, Options, Query, Store},
};

use super::{
    delete::{append, tree},
    keys_but_marks, open, options, records,
    sample::Maker,
};

/// Of more branches than an ancestry's row holds.
#[tokio::test]
async fn a_long_chain_of_forks_has_its_whole_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&Options { sync: false, ..options(dir.path()) }).expect("it opens");
    let mut maker = Maker::new(1);
    let mut tip = tree(&store, &mut maker, 1).await.remove(0);
    let mut history = store.history(&tip, u64::MAX).expect("readable");
    let mut versions = 1;
    for _ in 0..600 {
        let all = tip.version.entry_count;
        // The first one extends the branch, so that the second one has to open one.
        append(&store, &mut maker, &tip, all, false).await;
        tip = append(&store, &mut maker, &tip, all, false).await;
        history.extend(store.entries(&tip, all..all + 2, usize::MAX).expect("readable"));
        versions += 2;
    }
    assert_eq!(store.history(&tip, u64::MAX).expect("readable"), history);
    for at in [0, 1, 511, 512, 513, 514, 1100] {
        assert_eq!(store.find_entry(&tip, history[at].id).expect("readable"), Some(at as u64));
        // A restart cuts the chain there, and goes on as a chain.
        let restarted = append(&store, &mut maker, &tip, at as u64, false).await;
        let again = append(&store, &mut maker, &restarted, at as u64 + 1, false).await;
        let read = store.history(&again, u64::MAX).expect("readable");
        assert_eq!(read[..at], history[..at]);
        assert_eq!(read.len(), at + 3);
        versions += 2;
    }
    assert_eq!(store.delete(tip.version.root_id, true, Time::default()).await, Ok(versions));
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

/// More branches than are merged, and more versions than a page looks at.
#[tokio::test]
async fn a_filter_that_fits_nearly_all_or_nearly_none_lists_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&Options { sync: false, ..options(dir.path()) }).expect("it opens");
    let mut maker = Maker::new(1);
    let [common, rare] = ["common", "rare"].map(|model| Settings { model: model.into(), ..Settings::default() });
    let mut expected: Vec<ConversationId> = Vec::new();
    for count in 0..4200 {
        let id = maker.uuid();
        let turn = maker.turn(id, None, Vec::new(), TurnState::Completed);
        let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
        let mut settings = if count % 500 == 7 { rare.clone() } else { common.clone() };
        settings.agent_id = (count % 1000 == 7).then(|| "agent".to_owned());
        let stored = store.commit(records::start(&ended, settings, None)).await.expect("committed");
        expected.push(stored.version.id);
    }
    expected.reverse();
    let fits = |model: &str| {
        let query = Query { model: Some(model.into()), ..Query::default() };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&query, after, 1000).expect("readable");
            found.extend(
                page.rows.into_iter().map(|(stored, _)| (stored.version.id, Arc::clone(&stored.version.settings))),
            );
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert!(found.iter().all(|(_, settings)| settings.model == model));
        found.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let (common, rare) = (fits("common"), fits("rare"));
    assert_eq!(rare.len(), 9);
    let mut all = [common, rare].concat();
    all.sort_by(|one, other| other.cmp(one));
    assert_eq!(all, expected);
    drop(store);
    assert_eq!(open(dir.path()).roots(None, usize::MAX).expect("readable").len(), 4200);
}
