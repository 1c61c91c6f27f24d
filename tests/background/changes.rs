//! What the log of changes says of background turns.

use causerie::{
    domain::{Change, ChangeKind, TurnState},
    store::{Options, Store},
};

use crate::support::{
    completion::silence,
    events::soon,
    provider::Reply,
    queued::{accepted, cancel, log_of, next_asked, queued},
    server::TestServer,
};

#[tokio::test]
async fn every_step_of_a_turn_is_a_change_in_its_order() {
    let settings = [("background.backoff_base", "1ms"), ("background.backoff_max", "1ms")];
    let mut server = TestServer::with(&settings).await;
    let client = server.client().await;
    server.provider.reply(Reply::json(503, &serde_json::json!({"message": "later"})));
    server.provider.reply(Reply::text("at last"));
    let made = accepted(&client, queued("Hello")).await;
    log_of(&client, &made).await;
    server.provider.reply(Reply::json(400, &serde_json::json!({"message": "never"})));
    let failed = accepted(&client, queued("Hello")).await;
    log_of(&client, &failed).await;
    server.provider.reply(silence());
    let cancelled = accepted(&client, queued("Stop me")).await;
    while next_asked(&server.provider).await != "Stop me" {}
    cancel(&client, &cancelled).await;
    soon(server.begin_stop()).await.expect("no panic").expect("a good end");

    let store = Store::open(&Options { min_free_bytes: 0, ..Options::new(server.store_path()) }).expect("it opens");
    let changes = store.changes(0, 100).expect("all are kept");
    assert!(changes.iter().map(|change| change.revision).eq(1..=changes.len() as u64));
    use ChangeKind::{TurnEnded, TurnQueued, TurnRequeued, TurnStarted, VersionCreated};
    use TurnState::{Cancelled, Completed, Failed, Queued, Running};
    let told = |id: &str| {
        let of_turn = changes.iter().filter(|change| change.turn_id.to_string() == id);
        of_turn.map(|change: &std::sync::Arc<Change>| (change.kind, change.state, change.attempt)).collect::<Vec<_>>()
    };
    let begun = [(TurnQueued, Queued, 0), (TurnStarted, Running, 1)];
    let again = [(TurnRequeued, Queued, 1), (TurnStarted, Running, 2)];
    assert_eq!(told(&made), [&begun[..], &again, &[(VersionCreated, Completed, 2)]].concat());
    assert_eq!(told(&failed), [&begun[..], &[(TurnEnded, Failed, 1)]].concat());
    assert_eq!(told(&cancelled), [&begun[..], &[(TurnEnded, Cancelled, 1)]].concat());
    assert_eq!(changes.len(), 5 + 3 + 3);
    store.close();
}
