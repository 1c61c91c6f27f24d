//! The flusher: one thread that makes everything durable that waits for it, with one sync for all.
//!
//! No timer and no minimum: while one flush waits for the disk the next group gathers. It also watches the free space.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use super::{batches::Batches, changes::Log, disk::Disk, error::Error, witness::Witness};

/// How often the free space is looked at, and a last group gets its witness. Turns run for seconds, and the floor leaves room for all of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Healthy,
    /// Reads and running turns go on, new turns are refused until there is space again.
    LowSpace {
        /// What the disk has left.
        free_bytes: u64,
        /// What must be left.
        floor_bytes: u64,
    },
    /// A write failed, and none is tried any more until the store is opened again. Reads go on.
    Failed,
}

type Waiter = oneshot::Sender<Result<(), Error>>;

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Flusher {
    /// None: it was stopped, or nothing is ever flushed before it is acknowledged.
    waiters: Mutex<Option<mpsc::Sender<Waiter>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    state: Arc<State>,
    sync: bool,
}

#[derive(Debug)]
struct State {
    failed: OnceLock<Error>,
    health: watch::Sender<Health>,
    floor_bytes: u64,
    flushes: AtomicU64,
    witness: Mutex<Witness>,
    /// Readers of it see what is durable, and nothing else.
    log: Arc<Log>,
    /// Neither do those who wait for the results of a batch.
    batches: Arc<Batches>,
}

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(
        disk: Arc<Disk>,
        witness: Witness,
        (log, batches): (Arc<Log>, Arc<Batches>),
        sync: bool,
        floor_bytes: u64,
    ) -> std::io::Result<Flusher> {
        let (health, _) = watch::channel(Health::Healthy);
        let (flushes, witness) = (AtomicU64::new(0), Mutex::new(witness));
        let state = Arc::new(State { failed: OnceLock::new(), health, floor_bytes, flushes, witness, log, batches });
        state.look_at_space(&disk);
        // Not bounded here: a waiter is a commit whose rows are written, and the engine bounds its turns.
        let (sender, waiters) = mpsc::channel();
        let run = {
            let state = Arc::clone(&state);
            move || state.run(&disk, &waiters)
        };
        let thread = thread::Builder::new().name("causerie-flush".into()).spawn(run)?;
        Ok(Flusher { waiters: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), state, sync })
    }

    /// Waits until everything is durable that was written before the call.
    pub(super) async fn flushed(&self) -> Result<(), Error> {
        self.writable()?;
        if !self.sync {
            return Ok(());
        }
        let (waiter, flushed) = oneshot::channel();
        if !self.send(waiter) {
            return Err(Error::failed("it is closed"));
        }
        flushed.await.unwrap_or_else(|_| Err(Error::failed("its flusher stopped")))
    }

    /// Has everything made durable soon that was written before the call, and waits for nothing.
    pub(super) fn poke(&self) {
        if self.sync {
            // If it was stopped, its last flush is still to come.
            self.send(oneshot::channel().0);
        }
    }

    fn send(&self, waiter: Waiter) -> bool {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.as_ref().is_some_and(|waiters| waiters.send(waiter).is_ok())
    }

    /// An error if writes are refused.
    pub(super) fn writable(&self) -> Result<(), Error> {
        self.state.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Notes that a write failed: none will be tried any more. Gives the error back.
    pub(super) fn fail(&self, error: Error) -> Error {
        self.state.fail(error.clone());
        error
    }

    /// How the store is, from now on.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.state.health.subscribe()
    }

    /// Syncs so far.
    pub(super) fn flushes(&self) -> u64 {
        self.state.flushes.load(Ordering::Relaxed)
    }

    /// Makes everything durable that was written, and known to be.
    pub(super) fn flush(&self, disk: &Disk) -> Result<(), Error> {
        self.state.flush(disk, true)?;
        self.state.confirm();
        Ok(())
    }

    /// Ends the thread after the waiters that it has; later ones are refused.
    pub(super) fn stop(&self) {
        drop(self.waiters.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It catches what sled panics with; there is nothing else to learn from it.
            let _ = thread.join();
        }
    }
}

/// So many waiters at once are company. Fewer never wait for more: a lone caller's turn is synced at once.
const COMPANY: usize = 3;
/// Company is waited for in such steps, as long as each brings some, and at most so often: 4 ms, a small part of what so many
/// callers wait for the processor. A sync costs as much of it as several turns, so without this the syncs of a fast disk take
/// what the turns need.
const STEP: Duration = Duration::from_micros(500);
const STEPS: u32 = 8;

fn gather(group: &mut Vec<Waiter>, waiters: &mpsc::Receiver<Waiter>) {
    for _ in 0..STEPS {
        let before = group.len();
        thread::sleep(STEP);
        group.extend(waiters.try_iter());
        if group.len() == before {
            return;
        }
    }
}

impl State {
    fn run(&self, disk: &Disk, waiters: &mpsc::Receiver<Waiter>) {
        let mut group: Vec<Waiter> = Vec::new();
        let mut last = 0;
        let mut looked = Instant::now();
        // Whether something was flushed since the last witness.
        let mut unseen = false;
        loop {
            match waiters.recv_timeout(LOOK_EVERY) {
                Ok(first) => {
                    group.push(first);
                    group.extend(waiters.try_iter());
                    if last.max(group.len()) >= COMPANY {
                        gather(&mut group, waiters);
                    }
                    last = group.len();
                    unseen = true;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let witnessed = unseen && self.witness().is_due();
            if witnessed || !group.is_empty() {
                let flushed = self.flush(disk, witnessed);
                for waiter in group.drain(..) {
                    // A caller that is gone does not need the answer; its commit stands.
                    let _ = waiter.send(flushed.clone());
                }
                if witnessed && flushed.is_ok() {
                    self.confirm();
                    unseen = false;
                }
            }
            if looked.elapsed() >= LOOK_EVERY {
                self.look_at_space(disk);
                looked = Instant::now();
            }
        }
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, disk: &Disk, witnessed: bool) -> Result<(), Error> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let announced = if witnessed { self.witness().announce(disk) } else { Ok(()) };
        // What is written from here on may be missed by the flush.
        let revision = self.log.newest();
        let epoch = self.batches.flushing();
        let flushed = announced.and_then(|()| disk.flush()).inspect_err(|error| self.fail(error.clone()));
        flushed.inspect(|()| {
            self.log.publish(revision);
            self.batches.flushed(epoch);
        })
    }

    fn confirm(&self) {
        // What is durable is so without it, too.
        if let Err(error) = self.witness().confirm() {
            tracing::warn!(%error, "the store's witness was not written");
        }
    }

    fn fail(&self, error: Error) {
        tracing::error!(%error, "the store stops writing until it is opened again");
        // Only the first one counts; the others follow from it.
        let _ = self.failed.set(error);
        self.health.send_replace(Health::Failed);
    }

    fn look_at_space(&self, disk: &Disk) {
        let free_bytes = match disk.free_bytes() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, "the free space of the store's disk is unknown");
                return;
            }
        };
        let low = Health::LowSpace { free_bytes, floor_bytes: self.floor_bytes };
        self.health.send_if_modified(|health| {
            let now = if free_bytes < self.floor_bytes { low } else { Health::Healthy };
            // A new figure of the same state wakes nobody, but is what the next refusal says.
            let changed = std::mem::discriminant(health) != std::mem::discriminant(&now);
            let failed = *health == Health::Failed;
            if !failed {
                *health = now;
            }
            changed && !failed
        });
    }
}
