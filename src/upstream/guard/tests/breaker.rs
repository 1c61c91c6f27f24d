//! The breaker, through the guard.

use super::*;

async fn call(guard: &Guard) -> Result<Permit, Refused> {
    guard.admit(ask(1, 5)).await
}

async fn ends(guard: &Guard, calls: u32, fails: bool) {
    for _ in 0..calls {
        let mut permit = call(guard).await.expect("closed");
        if fails {
            permit.failed()
        } else {
            permit.succeeded()
        };
    }
}

fn open_for(refused: Result<Permit, Refused>) -> Duration {
    match refused {
        Err(Refused::BreakerOpen { retry_in }) => retry_in,
        other => panic!("not refused by the breaker: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_at_the_rate_and_not_before_there_are_enough_calls() {
    // Successes, failures, whether it is open then.
    let rows =
        [(0, 9, false), (0, 10, true), (5, 5, true), (6, 5, false), (6, 6, true), (100, 50, false), (100, 100, true)];
    for (good, bad, open) in rows {
        let guard = guard(0, 0);
        ends(&guard, good, false).await;
        ends(&guard, bad, true).await;
        assert_eq!(call(&guard).await.is_err(), open, "{good} good, {bad} bad");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_is_forgotten() {
    let guard = guard(0, 0);
    ends(&guard, 9, true).await;
    pass_ms(31_000).await;
    ends(&guard, 9, true).await;
    assert_eq!(guard.state().breaker, BreakerState::Closed);
    ends(&guard, 1, true).await;
    assert_eq!(guard.state().breaker, BreakerState::Open { retry_in: seconds(15) });
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_and_decides() {
    let guard = guard(0, 0);
    ends(&guard, 10, true).await;
    assert_eq!(open_for(call(&guard).await), seconds(15));
    pass_ms(14_000).await;
    assert_eq!(open_for(call(&guard).await), seconds(1));
    pass_ms(1_000).await;
    assert_eq!(guard.state().breaker, BreakerState::HalfOpen);

    // A probe that is dropped lets another one try.
    let dropped = call(&guard).await.expect("the probe");
    assert_eq!(open_for(call(&guard).await), seconds(1));
    drop(dropped);
    let mut probe = call(&guard).await.expect("the next probe");
    assert_eq!(open_for(call(&guard).await), seconds(1));
    probe.succeeded();
    assert_eq!(guard.state().breaker, BreakerState::Closed);

    // The window is empty again: what failed before doesn't count.
    ends(&guard, 9, true).await;
    assert_eq!(guard.state().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_probe_that_fails_doubles_the_wait_up_to_ten_times() {
    let guard = guard(0, 0);
    ends(&guard, 10, true).await;
    for expected in [15, 30, 60, 120, 150, 150] {
        assert_eq!(open_for(call(&guard).await), seconds(expected));
        pass_ms(expected * 1000).await;
        call(&guard).await.expect("the probe").failed();
    }
    pass_ms(150_000).await;
    call(&guard).await.expect("the probe").succeeded();
    ends(&guard, 10, true).await;
    assert_eq!(open_for(call(&guard).await), seconds(15));
}

#[tokio::test(start_paused = true)]
async fn calls_from_before_a_change_are_no_news() {
    let guard = guard(0, 0);
    let mut late_success = call(&guard).await.expect("closed");
    let mut late_failure = call(&guard).await.expect("closed");
    ends(&guard, 10, true).await;
    late_success.succeeded();
    assert_eq!(open_for(call(&guard).await), seconds(15));
    pass_ms(15_000).await;
    let mut probe = call(&guard).await.expect("the probe");
    late_failure.failed();
    probe.succeeded();
    assert_eq!(guard.state().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_success_may_still_become_a_failure() {
    let guard = guard(0, 0);
    for _ in 0..10 {
        let mut permit = call(&guard).await.expect("closed");
        permit.succeeded();
        permit.failed();
        permit.failed();
    }
    open_for(call(&guard).await);
}

#[tokio::test(start_paused = true)]
async fn a_head_and_a_call_that_was_never_sent_say_nothing() {
    let guard = guard(0, 0);
    ends(&guard, 10, true).await;
    pass_ms(15_000).await;
    call(&guard).await.expect("the probe").unused();
    let mut probe = call(&guard).await.expect("the next probe");
    probe.answered();
    assert_eq!(open_for(call(&guard).await), seconds(1));
    probe.succeeded();
    assert_eq!(guard.state().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn neither_429_nor_a_dropped_call_counts() {
    let guard = guard(0, 0);
    for _ in 0..20 {
        drop(call(&guard).await.expect("closed"));
        call(&guard).await.expect("closed").rate_limited(Some(Duration::ZERO));
    }
    assert_eq!(guard.state().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn turns_that_wait_are_told_at_once_when_it_opens() {
    let guard = Guard::new(options(0, 0), slots(11));
    let mut running = Vec::new();
    for _ in 0..11 {
        running.push(call(&guard).await.expect("closed"));
    }
    let metered = asks(&guard, ask(1, 60)).await;
    let unmetered = asks(&guard, Ask { metered: false, ..ask(1, 60) }).await;
    let began = Instant::now();
    let opened = running.iter_mut().filter_map(|permit| permit.failed().then_some(())).count();
    assert_eq!(opened, 1, "it is told once");
    assert_eq!(open_for(metered.await.expect("no panic")), seconds(15));
    assert_eq!(open_for(unmetered.await.expect("no panic")), seconds(15));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(guard.state().waiting, 0);
}
