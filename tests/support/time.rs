//! Time that passes when a test says so.

use std::time::Duration;

/// Lets so much time pass at once, for everything that waits by tokio's clock in this test's runtime.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
