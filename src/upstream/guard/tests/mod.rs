//! All on a clock that the tests move: `start_paused` steps it to the next timer when every task waits.

mod breaker;
mod limits;
mod model;
mod simulation;
mod waiting;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::*;
use crate::upstream::Quota;

/// Requests and tokens per minute; 0: none. Many may wait.
fn options(requests: u32, tokens: u64) -> GuardOptions {
    GuardOptions {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU64::new(tokens),
        max_waiting: 1000,
        breaker: BreakerOptions::default(),
    }
}

fn slots(max: usize) -> Arc<Slots> {
    Slots::new(NonZeroUsize::new(max).expect("some"))
}

fn guard(requests: u32, tokens: u64) -> Guard {
    Guard::new(options(requests, tokens), slots(1000))
}

/// A metered turn of so many prompt tokens that waits for so many seconds.
fn ask(tokens: u64, patience_s: u64) -> Ask {
    Ask {
        prompt_tokens: tokens,
        output_tokens: 0,
        deadline: Instant::now() + Duration::from_secs(patience_s),
        metered: true,
    }
}

/// A turn that asks in a task of its own, and has asked when this returns.
async fn asks(guard: &Guard, ask: Ask) -> JoinHandle<Result<Permit, Refused>> {
    let guard = guard.clone();
    let task = tokio::spawn(async move { guard.admit(ask).await });
    settled().await;
    task
}

/// Lets all tasks go on as far as they can without the clock.
async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn pass_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    settled().await;
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
