//! Work that takes a processor for long: a few at a time, on threads where it holds nobody up.

use tokio::sync::Semaphore;

/// More at once would take the processors from the turns.
const AT_ONCE: usize = 2;

/// A few threads' worth of such work.
#[derive(Debug)]
pub(super) struct Compiles {
    permits: Semaphore,
}

impl Compiles {
    pub(super) fn new() -> Compiles {
        Compiles { permits: Semaphore::new(AT_ONCE) }
    }

    /// Does the work when its turn comes; `None`: it panicked, and the log says where.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        tokio::task::spawn_blocking(work).await.ok()
    }
}
