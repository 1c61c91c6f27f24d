//! How long changes are kept, and what a reader is told that comes too late.

use tonic::Code;

use super::{Watcher, after, from_oldest, refused, revisions, say, watch, watcher};
use crate::support::{
    events::soon,
    refusal::{told, value},
    server::TestServer,
};

/// Waits until the server has removed what it keeps no more.
async fn swept(client: &Watcher) {
    let sweep = async {
        while revisions(client).await.oldest == 1 {
            tokio::task::yield_now().await;
        }
    };
    soon(sweep).await;
}

async fn old_changes_go(setting: (&str, &str)) {
    let mut server = TestServer::with(&[setting]).await;
    for _ in 0..5 {
        say(&server.client().await, "Hello").await;
    }
    // A sweep comes when the server starts.
    server.restart().await;
    let client = watcher(&server).await;
    swept(&client).await;

    // The newest one stays, so that its number is not given again.
    let kept = revisions(&client).await;
    assert_eq!((kept.oldest, kept.newest), (5, 5));
    for cursor in [0, 3] {
        let status = refused(&client, after(cursor)).await;
        assert_eq!(told(&status), (Code::OutOfRange, "REVISION_GONE".to_owned()), "{cursor}");
        assert_eq!(value(&status, "oldest_revision"), "5");
        assert!(status.message().contains("from_oldest"), "it says what to do: {}", status.message());
    }
    // Whoever has the one before misses nothing.
    for begin in [after(4), from_oldest()] {
        let mut following = watch(&client, begin).await;
        following.until(5).await;
        assert_eq!(following.revisions(), [5]);
    }
    say(&server.client().await, "Hello").await;
    let mut following = watch(&client, after(5)).await;
    following.until(6).await;
    assert_eq!(following.revisions(), [6]);
    server.stop().await;
}

#[tokio::test]
async fn changes_go_when_they_are_old() {
    old_changes_go(("watch.retention", "0s")).await;
}

#[tokio::test]
async fn changes_go_when_they_are_many() {
    old_changes_go(("watch.max_mib", "0")).await;
}

#[tokio::test]
async fn changes_are_kept_over_restarts() {
    let mut server = TestServer::start().await;
    for _ in 0..3 {
        say(&server.client().await, "Hello").await;
        server.restart().await;
    }
    let mut following = watch(&watcher(&server).await, after(0)).await;
    following.until(3).await;
    assert_eq!(following.revisions(), [1, 2, 3]);
    server.stop().await;
}
