//! The minute, what the provider tells of its own, and the gate.

use super::*;

#[tokio::test(start_paused = true)]
async fn five_turns_a_minute_go_at_once_and_the_sixth_a_minute_later() {
    let guard = guard(5, 10_000);
    let began = Instant::now();
    for _ in 0..5 {
        guard.admit(ask(100, 0)).await.expect("within the limit").succeeded();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Requests are sure: who can't wait as long is told at once.
    let late = guard.admit(ask(100, 30)).await.expect_err("too late");
    assert_eq!(late, Refused::TooLate { limit: Limit::Requests, retry_in: Duration::from_millis(61_100) });
    guard.admit(ask(100, 90)).await.expect("in time");
    assert_eq!(began.elapsed().as_millis() / 100, 611);
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_deadline_has_passed_meets_no_limit_where_there_is_room() {
    let guard = guard(1, 10_000);
    let late = ask(1, 0);
    pass_ms(5).await;
    guard.admit(late).await.expect("nothing is in the way");
    guard.admit(late).await.expect_err("the minute is used up");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reserved_given_back_and_debited() {
    let guard = guard(0, 10_000);
    let mut first = guard.admit(ask(6_000, 0)).await.expect("fits");
    // Tokens may be given back, so it waits; at its deadline it is told when they surely are.
    let late = guard.admit(ask(6_000, 10)).await.expect_err("too late");
    assert_eq!(late, Refused::TooLate { limit: Limit::Tokens, retry_in: Duration::from_millis(51_100) });

    let waits = asks(&guard, ask(6_000, 10)).await;
    first.settle(2_000);
    let mut second = waits.await.expect("no panic").expect("there is room now");
    assert_eq!(guard.state().tokens_used, 8_000);
    second.settle(12_000);
    assert_eq!(guard.state().tokens_used, 14_000);
    drop((first, second));
    assert_eq!(guard.state().tokens_used, 14_000);
    pass_ms(62_000).await;
    assert_eq!(guard.state().tokens_used, 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_larger_than_the_minute_takes_it_whole_unless_its_prompt_is() {
    let guard = guard(0, 10_000);
    let large = |prompt, output| Ask { output_tokens: output, ..ask(prompt, 300) };
    let refused = guard.admit(large(10_001, 0)).await.expect_err("never");
    assert_eq!(refused, Refused::TooLarge { limit: Limit::Tokens, tokens: 10_001, most: 10_000 });

    let began = Instant::now();
    guard.admit(ask(1, 0)).await.expect("fits").succeeded();
    let mut whole = guard.admit(large(10_000, 4_000)).await.expect("a minute later");
    assert_eq!(began.elapsed().as_secs(), 61);
    assert_eq!(guard.state().tokens_used, 10_000);
    whole.settle(10_700);
    guard.admit(ask(1, 300)).await.expect("in the next one");
    assert_eq!(began.elapsed().as_secs(), 122);
}

#[tokio::test(start_paused = true)]
async fn the_providers_limits_hold_where_they_are_lower_or_alone() {
    let rows = [(0, 7, Some(7)), (5, 7, Some(5)), (9, 7, Some(7)), (9, 0, Some(9)), (0, 0, None)];
    for (configured, told, expected) in rows {
        let guard = guard(configured, u64::from(configured));
        let quota = Quota { limit_requests: Some(told), limit_tokens: Some(told), ..Quota::default() };
        guard.admit(ask(1, 0)).await.expect("fits").quota(&quota);
        let state = guard.state();
        assert_eq!((state.requests_per_minute, state.tokens_per_minute), (expected, expected), "{configured} {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_told_by_mistake_locks_nobody_out() {
    let tells =
        |requests, tokens| Quota { limit_requests: Some(requests), limit_tokens: Some(tokens), ..Quota::default() };
    for configured in [0, 10_000] {
        let guard = guard(0, configured);
        let began = Instant::now();
        guard.admit(ask(1, 0)).await.expect("nothing is known").quota(&tells(1_000, 5));
        // It takes the whole minute, so it goes alone, and what its answer tells holds for the others.
        let (large, small) = (asks(&guard, ask(9_000, 100)).await, asks(&guard, ask(500, 100)).await);
        let mut large = large.await.expect("no panic").expect("a minute later");
        assert_eq!(began.elapsed().as_secs(), 61);
        assert!(!small.is_finished());
        large.quota(&tells(1_000, 2_000_000));
        large.settle(9_000);
        small.await.expect("no panic").expect("there is room");
        assert_eq!(began.elapsed().as_secs(), 61);
    }
    // What is configured is no mistake.
    let guard = guard(0, 10_000);
    guard.admit(ask(1, 0)).await.expect("fits").quota(&tells(1_000, 5));
    let refused = guard.admit(ask(10_001, 100)).await.expect_err("never");
    assert_eq!(refused, Refused::TooLarge { limit: Limit::Tokens, tokens: 10_001, most: 10_000 });
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_told_no_more_is_forgotten() {
    let guard = guard(0, 0);
    let quota = Quota { limit_requests: Some(1), limit_tokens: Some(5), ..Quota::default() };
    let began = Instant::now();
    guard.admit(ask(1, 0)).await.expect("nothing is known").quota(&quota);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(asks(&guard, ask(100, 400)).await);
    }
    for waits in waiting.drain(..4) {
        waits.await.expect("no panic").expect("one a minute");
    }
    assert_eq!(began.elapsed().as_secs(), 4 * 61);
    assert_eq!((guard.state().requests_per_minute, guard.state().tokens_per_minute), (Some(1), Some(5)));
    for waits in waiting {
        waits.await.expect("no panic").expect("no limit is known");
    }
    assert_eq!(began.elapsed().as_secs(), 300);
    assert_eq!((guard.state().requests_per_minute, guard.state().tokens_per_minute), (None, None));
}

#[tokio::test(start_paused = true)]
async fn what_others_leave_is_not_exceeded_until_the_reset() {
    // The limit told, what is left, the reset told, how many more go at once, and when the next one does.
    let rows = [
        (Some(60), Some(59), None, 59, 61),
        (Some(60), Some(10), None, 5, 61),
        (Some(60), Some(10), Some(20_000), 5, 20),
        (Some(60), Some(0), Some(20_000), 0, 20),
        (None, Some(3), Some(20_000), 3, 20),
        (None, Some(3), None, 3, 61),
        // A reset that is no minute's is not believed.
        (None, Some(0), Some(u64::MAX), 0, 61),
    ];
    for (limit_requests, remaining_requests, reset_requests_ms, more, next_s) in rows {
        let guard = guard(0, 0);
        let began = Instant::now();
        let quota = Quota { limit_requests, remaining_requests, reset_requests_ms, ..Quota::default() };
        guard.admit(ask(1, 0)).await.expect("nothing is known").quota(&quota);
        for at in 0..more {
            guard.admit(ask(1, 0)).await.unwrap_or_else(|refused| panic!("{quota:?}: {at}: {refused:?}"));
        }
        guard.admit(ask(1, 500)).await.expect("later");
        assert_eq!(began.elapsed().as_secs(), next_s, "{quota:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_news_of_an_older_call_is_ignored() {
    let guard = guard(0, 0);
    let left = |remaining| Quota { limit_requests: Some(60), remaining_requests: Some(remaining), ..Quota::default() };
    let mut older = guard.admit(ask(1, 0)).await.expect("nothing is known");
    pass_ms(1_000).await;
    let mut newer = guard.admit(ask(1, 0)).await.expect("nothing is known");
    newer.quota(&left(50));
    older.quota(&left(0));
    guard.admit(ask(1, 0)).await.expect("50 are left");
}

#[tokio::test(start_paused = true)]
async fn a_429_closes_the_gate_for_all_and_one_tries_first() {
    let guard = guard(0, 0);
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(guard.admit(ask(1, 0)).await.expect("open"));
    }
    calls[0].rate_limited(Some(seconds(5)));
    // Of the same burst: the longer wait counts, a shorter or unknown one is no news.
    calls[1].rate_limited(None);
    calls[2].rate_limited(Some(seconds(7)));
    assert_eq!(guard.state().closed_for, Some(seconds(7)));
    let late = guard.admit(ask(1, 3)).await.expect_err("closed");
    assert_eq!(late, Refused::TooLate { limit: Limit::RetryAfter, retry_in: seconds(7) });

    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(asks(&guard, ask(1, 60)).await);
    }
    pass_ms(7_001).await;
    assert_eq!(finished(&waiting), 1);
    let probe = waiting.remove(0).await.expect("no panic").expect("the probe");
    // Dropped without an answer it lets the next one try.
    drop(probe);
    settled().await;
    assert_eq!(finished(&waiting), 1);
    let mut probe = waiting.remove(0).await.expect("no panic").expect("the next probe");
    probe.rate_limited(Some(seconds(2)));
    pass_ms(2_001).await;
    assert_eq!(finished(&waiting), 1);
    waiting.remove(0).await.expect("no panic").expect("the third probe").succeeded();
    for waits in waiting {
        waits.await.expect("no panic").expect("open again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_the_probes_answer_opens_the_gate() {
    let guard = guard(0, 0);
    guard.admit(ask(1, 0)).await.expect("open").rate_limited(Some(seconds(2)));
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(asks(&guard, ask(1, 60)).await);
    }
    pass_ms(2_001).await;
    assert_eq!(finished(&waiting), 1);
    let mut probe = waiting.remove(0).await.expect("no panic").expect("the probe");
    probe.answered();
    settled().await;
    assert_eq!(finished(&waiting), 4);
    // Its wait was the first: a turn got through.
    guard.admit(ask(1, 0)).await.expect("open").rate_limited(None);
    assert!(guard.state().closed_for.expect("closed") < seconds(2));
    probe.answered();
    assert!(guard.state().closed_for.is_some(), "the head of an older call is no news");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_gives_back_all_that_it_took() {
    let guard = guard(1, 100);
    for _ in 0..5 {
        guard.admit(ask(100, 0)).await.expect("nothing was used").unused();
    }
    let mut first = guard.admit(ask(100, 0)).await.expect("nothing was used");
    let waits = asks(&guard, ask(100, 300)).await;
    let own = Ask { metered: false, ..ask(1_000, 0) };
    guard.admit(own).await.expect("a slot is free").unused();
    assert!(!waits.is_finished());
    first.unused();
    first.rate_limited(Some(seconds(100)));
    first.failed();
    let mut second = waits.await.expect("no panic").expect("there is room");
    drop(first);
    let state = guard.state();
    assert_eq!((state.requests_used, state.tokens_used, state.in_use), (1, 100, 1));
    assert_eq!((state.closed_for, state.breaker), (None, BreakerState::Closed));

    // As a probe it lets the next one try.
    second.rate_limited(Some(seconds(1)));
    let (probe, waits) = (asks(&guard, ask(1, 30)).await, asks(&guard, ask(1, 300)).await);
    pass_ms(1_001).await;
    assert!(!waits.is_finished());
    probe.await.expect("no panic").expect("the probe").unused();
    waits.await.expect("no panic").expect("the next probe").succeeded();
}

#[tokio::test(start_paused = true)]
async fn waits_that_the_provider_does_not_name_grow_until_a_turn_gets_through() {
    let guard = guard(0, 0);
    for round in 0..2 {
        for expected_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            guard.admit(ask(1, 0)).await.expect("open, or the probe").rate_limited(None);
            let closed_for = guard.state().closed_for.expect("closed").as_secs_f64() / f64::from(expected_s);
            assert!((1.0..=1.25).contains(&closed_for), "{round} {expected_s}: {closed_for}");
            pass_ms(75_000).await;
        }
        guard.admit(ask(1, 0)).await.expect("the probe").succeeded();
    }
    guard.admit(ask(1, 0)).await.expect("open").rate_limited(Some(Duration::MAX));
    assert_eq!(guard.state().closed_for, Some(seconds(3600)));
}

#[tokio::test(start_paused = true)]
async fn turns_that_wait_are_told_when_the_gate_closes_beyond_their_deadline() {
    let guard = guard(1, 0);
    let mut first = guard.admit(ask(1, 0)).await.expect("open");
    let (patient, hasty) = (asks(&guard, ask(1, 300)).await, asks(&guard, ask(1, 125)).await);
    let began = Instant::now();
    first.rate_limited(Some(seconds(130)));
    let late = hasty.await.expect("no panic").expect_err("too late");
    assert_eq!(late, Refused::TooLate { limit: Limit::RetryAfter, retry_in: seconds(130) });
    assert_eq!(began.elapsed(), Duration::ZERO);
    patient.await.expect("no panic").expect("after the gate");
    assert_eq!(began.elapsed().as_secs(), 130);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_callers_own_has_limits_of_its_own() {
    let guard = guard(1, 10);
    let own = |tokens| Ask { metered: false, ..ask(tokens, 0) };
    for _ in 0..10 {
        let mut permit = guard.admit(own(1_000)).await.expect("not ours to count");
        permit.quota(&Quota { remaining_requests: Some(0), limit_tokens: Some(3), ..Quota::default() });
        permit.settle(5_000);
        permit.rate_limited(Some(seconds(100)));
    }
    let state = guard.state();
    assert_eq!((state.closed_for, state.requests_used, state.tokens_used), (None, 0, 0));
    assert_eq!(state.tokens_per_minute, Some(10));
    guard.admit(ask(1, 0)).await.expect("our own minute is untouched");
}

fn finished<T>(tasks: &[JoinHandle<T>]) -> usize {
    tasks.iter().filter(|task| task.is_finished()).count()
}
