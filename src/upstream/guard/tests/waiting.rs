//! The queue and the slots: who goes when, who is sent away, and what a turn that gives up leaves behind.

use super::*;

#[tokio::test(start_paused = true)]
async fn nobody_is_overtaken_and_a_large_turn_is_not_starved() {
    let guard = guard(0, 1_000);
    let mut first = guard.admit(ask(600, 0)).await.expect("fits");
    let large = asks(&guard, ask(900, 200)).await;
    let mut small = Vec::new();
    for _ in 0..5 {
        small.push(asks(&guard, ask(50, 200)).await);
    }
    assert!(small.iter().all(|task| !task.is_finished()), "small ones went past");
    first.settle(0);
    settled().await;
    let large = large.await.expect("no panic").expect("there is room");
    assert_eq!(small.iter().filter(|task| task.is_finished()).count(), 2);
    drop(large);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_gives_up_wakes_the_next() {
    let guard = guard(0, 1_000);
    let _first = guard.admit(ask(600, 0)).await.expect("fits");
    let large = asks(&guard, ask(900, 200)).await;
    let small = asks(&guard, ask(400, 200)).await;
    assert_eq!(guard.state().waiting, 2);
    large.abort();
    assert!(large.await.expect_err("cancelled").is_cancelled());
    small.await.expect("no panic").expect("there is room for it");
    assert_eq!(guard.state().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_its_bound_the_queue_says_when_it_is_served() {
    let guard = Guard::new(GuardOptions { max_waiting: 3, ..options(2, 0) }, slots(10));
    for _ in 0..2 {
        guard.admit(ask(1, 0)).await.expect("within the limit").succeeded();
    }
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(asks(&guard, ask(1, 300)).await);
    }
    // The fourth would go in the second minute from now, behind two in the first and one in the second.
    let full = guard.admit(ask(1, 300)).await.expect_err("full");
    let retry_in = Duration::from_millis(61_100 + 61_000);
    assert_eq!(full, Refused::QueueFull { limit: Limit::Requests, waiting: 3, retry_in });
    // Turns on keys of their own don't wait for ours.
    guard.admit(Ask { metered: false, ..ask(1, 0) }).await.expect("a slot is free");
    for waits in waiting {
        waits.await.expect("no panic").expect("in its time");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_bound_the_calls_of_all_models_and_are_waited_for_in_turn() {
    let slots = slots(2);
    let (busy, other) = (Guard::new(options(0, 0), slots.clone()), Guard::new(options(0, 0), slots.clone()));
    let running = [busy.admit(ask(1, 0)).await.expect("free"), other.admit(ask(1, 0)).await.expect("free")];
    let mut of_busy = Vec::new();
    for _ in 0..20 {
        of_busy.push(asks(&busy, ask(1, 60)).await);
    }
    let of_other = asks(&other, ask(1, 60)).await;
    assert_eq!((slots.in_use(), busy.state().waiting, other.state().waiting), (2, 20, 1));
    // Two slots come free: one for each model, however many turns of the other wait.
    drop(running);
    settled().await;
    assert!(of_other.is_finished());
    assert_eq!(of_busy.iter().filter(|task| task.is_finished()).count(), 1);
    for task in of_busy {
        drop(task.await.expect("no panic").expect("in its turn"));
        settled().await;
    }
    drop(of_other);
    assert_eq!(slots.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_slot_in_vain_has_taken_nothing() {
    let guard = Guard::new(options(10, 1_000), slots(1));
    let running = guard.admit(ask(1, 0)).await.expect("free");
    pass_ms(4_000).await;
    let late = guard.admit(ask(900, 5)).await.expect_err("no slot");
    assert_eq!(late, Refused::TooLate { limit: Limit::Concurrency, retry_in: Duration::from_millis(100) });
    let state = guard.state();
    assert_eq!((state.requests_used, state.tokens_used, state.waiting), (1, 1, 0));
    drop(running);

    // Now it is known that a call takes about nine seconds.
    let running = guard.admit(ask(1, 0)).await.expect("free");
    let late = guard.admit(ask(900, 5)).await.expect_err("no slot");
    assert_eq!(late, Refused::TooLate { limit: Limit::Concurrency, retry_in: seconds(9) });
    drop(running);
    guard.admit(ask(900, 0)).await.expect("free");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_our_rate_holds_no_slot() {
    let slots = slots(1);
    let (spent, other) = (Guard::new(options(1, 0), slots.clone()), Guard::new(options(0, 0), slots.clone()));
    drop(spent.admit(ask(1, 0)).await.expect("within the limit"));
    let waits = asks(&spent, ask(1, 100)).await;
    assert_eq!(slots.in_use(), 0);
    // Not even when its time comes while the slot is taken and it waits for that too.
    let running = other.admit(ask(1, 0)).await.expect("free");
    pass_ms(70_000).await;
    assert!(!waits.is_finished());
    drop(running);
    waits.await.expect("no panic").expect("both now");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_holds_those_that_wait_for_slots() {
    let guard = Guard::new(options(0, 0), slots(2));
    let mut running = [guard.admit(ask(1, 0)).await.expect("free"), guard.admit(ask(1, 0)).await.expect("free")];
    let (first, second) = (asks(&guard, ask(1, 60)).await, asks(&guard, ask(1, 60)).await);
    running[0].rate_limited(Some(seconds(10)));
    drop(running);
    pass_ms(9_000).await;
    assert!(!first.is_finished() && !second.is_finished());
    pass_ms(1_001).await;
    assert!(first.is_finished() && !second.is_finished(), "one tries first");
    first.await.expect("no panic").expect("the probe").succeeded();
    second.await.expect("no panic").expect("open");
}

#[tokio::test(start_paused = true)]
async fn on_keys_of_their_own_too_they_queue_and_are_bounded() {
    let guard = Guard::new(GuardOptions { max_waiting: 2, ..options(1, 0) }, slots(1));
    let own = |patience_s| Ask { metered: false, ..ask(1, patience_s) };
    let running = guard.admit(own(0)).await.expect("free");
    let (first, second) = (asks(&guard, own(50)).await, asks(&guard, own(60)).await);
    let full = guard.admit(own(50)).await.expect_err("full");
    assert!(matches!(full, Refused::QueueFull { limit: Limit::Concurrency, waiting: 2, .. }), "{full:?}");
    pass_ms(51_000).await;
    let late = first.await.expect("no panic").expect_err("too late");
    assert!(matches!(late, Refused::TooLate { limit: Limit::Concurrency, .. }), "{late:?}");
    drop(running);
    second.await.expect("no panic").expect("free");
}

/// Not asserted, as machines differ: `cargo test --lib guard::tests::waiting::overhead -- --nocapture`.
#[test]
fn overhead_of_a_turn_that_need_not_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let guard = guard(4_000_000_000, 4_000_000_000_000);
        let turns = 200_000u32;
        let began = std::time::Instant::now();
        for _ in 0..turns {
            let mut permit = guard.admit(ask(1_000, 60)).await.expect("far below the limit");
            permit.succeeded();
            permit.settle(700);
        }
        println!("admit, succeeded, settle, drop: {:?} a turn", began.elapsed() / turns);
        assert_eq!(guard.state().in_use, 0);
    });
}
