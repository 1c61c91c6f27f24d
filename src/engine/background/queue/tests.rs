//! The queue, step by step and against its own rules under random use.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const NOW: Time = Time { unix_us: 1_000 };

fn queue(total: usize, per_provider: usize, per_tree: usize) -> Queue {
    Queue::new(Limits { total, per_provider, per_tree })
}

fn id(number: u128) -> TurnId {
    TurnId(Uuid::from_u128(number))
}

fn turn(number: u128, key: &str) -> Waiting {
    let line = Line { key: key.into(), batch: None, provider: "mistral".into() };
    let root = ConversationId(Uuid::from_u128(number));
    Waiting { id: id(number), model: "".into(), priority: 0, line, root, base: None, not_before: None, after: None }
}

fn next(queue: &mut Queue) -> Option<u128> {
    queue.next(NOW).map(|id| id.0.as_u128())
}

#[test]
fn lines_take_turns_whoever_queued_more() {
    let mut queue = queue(100, 100, 100);
    for number in 1..=5 {
        queue.insert(turn(number, "many"), false, NOW);
    }
    queue.insert(turn(6, "one"), false, NOW);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
    assert_eq!(order, [1, 6, 2, 3, 4, 5]);
}

#[test]
fn a_higher_priority_goes_first() {
    let mut queue = queue(100, 100, 100);
    queue.insert(turn(1, ""), false, NOW);
    queue.insert(Waiting { priority: 5, ..turn(2, "") }, false, NOW);
    queue.insert(Waiting { priority: -5, ..turn(3, "") }, false, NOW);
    assert_eq!([next(&mut queue), next(&mut queue), next(&mut queue)], [Some(2), Some(1), Some(3)]);
}

#[test]
fn a_busy_tree_or_provider_holds_up_no_other() {
    let mut queue = queue(100, 2, 1);
    let tree = ConversationId(Uuid::from_u128(77));
    queue.insert(Waiting { root: tree, ..turn(1, "") }, false, NOW);
    queue.insert(Waiting { root: tree, ..turn(2, "") }, false, NOW);
    queue.insert(turn(3, ""), false, NOW);
    queue.insert(turn(4, ""), false, NOW);
    let other = Line { provider: "other".into(), ..turn(5, "").line };
    queue.insert(Waiting { line: other, ..turn(5, "") }, false, NOW);
    assert_eq!(next(&mut queue), Some(1));
    assert_eq!(next(&mut queue), Some(5), "the other provider's line has its turn");
    assert_eq!(next(&mut queue), Some(3), "the tree of 2 is busy");
    assert_eq!(next(&mut queue), None, "the provider is busy");
    queue.ended(id(1), NOW);
    assert_eq!(next(&mut queue), Some(2), "the oldest, whose tree is free now");
}

#[test]
fn what_is_not_due_or_waits_for_another_comes_when_it_may() {
    let mut queue = queue(1, 1, 1);
    let later = Time { unix_us: NOW.unix_us + 1 };
    queue.insert(Waiting { not_before: Some(later), ..turn(1, "") }, false, NOW);
    queue.insert(turn(2, ""), false, NOW);
    queue.insert(Waiting { after: Some(id(2)), ..turn(3, "") }, true, NOW);
    assert_eq!(queue.next_due(), Some(later));
    assert_eq!(next(&mut queue), Some(2));
    queue.requeue(id(2), Some(later), NOW);
    assert_eq!(next(&mut queue), None);
    assert_eq!(queue.next(later), Some(id(1)));
    queue.ended(id(1), later);
    assert_eq!(queue.next(later), Some(id(2)));
    queue.ended(id(2), later);
    assert_eq!(queue.next(later), Some(id(3)));
    queue.ended(id(3), later);
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_turn_that_waits_anywhere_can_be_taken_out() {
    let mut queue = queue(1, 1, 1);
    let later = Time { unix_us: NOW.unix_us + 1 };
    queue.insert(turn(1, ""), false, NOW);
    queue.insert(Waiting { not_before: Some(later), ..turn(2, "") }, false, NOW);
    queue.insert(Waiting { after: Some(id(9)), ..turn(3, "") }, true, NOW);
    assert_eq!(next(&mut queue), Some(1));
    assert!(!queue.take_waiting(id(1)), "it runs");
    for number in [2, 3] {
        assert!(queue.take_waiting(id(number)));
        queue.ended(id(number), NOW);
    }
    queue.ended(id(9), NOW);
    queue.ended(id(1), NOW);
    assert_eq!((queue.len(), queue.next(later)), (0, None));
}

#[test]
fn those_behind_a_turn_that_is_taken_out_wait_for_the_one_before() {
    let mut queue = queue(10, 10, 10);
    let behind = |number, before| {
        let before = id(before);
        Waiting { after: Some(before), base: Some(before.conversation()), ..turn(number, "") }
    };
    queue.insert(behind(2, 1), true, NOW);
    queue.insert(behind(3, 2), true, NOW);
    assert_eq!(queue.newest_on(id(2).conversation()), Some(id(3)));
    assert!(queue.take_waiting(id(2)));
    queue.ended(id(2), NOW);
    assert_eq!(next(&mut queue), None, "1 has not ended");
    assert_eq!((queue.newest_on(id(1).conversation()), queue.newest_on(id(2).conversation())), (Some(id(3)), None));
    queue.ended(id(1), NOW);
    assert_eq!(next(&mut queue), Some(3));
    queue.wait_for(id(3), id(0));
    assert_eq!(next(&mut queue), None);
    queue.ended(id(0), NOW);
    assert_eq!(next(&mut queue), Some(3));
    queue.ended(id(3), NOW);
    assert_eq!((queue.len(), queue.newest_on(id(1).conversation())), (0, None));
}

#[test]
fn of_a_busy_tree_the_highest_priority_goes_on() {
    let mut queue = queue(10, 10, 1);
    let tree = ConversationId(Uuid::from_u128(77));
    for (number, priority) in [(1, 0), (2, -5), (3, 0), (4, 5)] {
        queue.insert(Waiting { priority, root: tree, ..turn(number, "") }, false, NOW);
    }
    let mut order = Vec::new();
    while let Some(number) = next(&mut queue) {
        assert_eq!(next(&mut queue), None, "the tree is busy");
        order.push(number);
        queue.ended(id(number), NOW);
    }
    assert_eq!(order, [4, 1, 3, 2]);
}

#[test]
fn a_batch_runs_as_many_as_it_may() {
    let mut queue = queue(100, 100, 100);
    let batch = BatchId(Uuid::from_u128(1));
    queue.limit_batch(batch, 2, &[batch]);
    for number in 1..=4 {
        let line = Line { batch: Some(batch), ..turn(number, "").line };
        queue.insert(Waiting { line, ..turn(number, "") }, false, NOW);
    }
    queue.insert(turn(5, ""), false, NOW);
    let begun: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
    assert_eq!(begun, [1, 5, 2]);
    queue.ended(id(2), NOW);
    assert_eq!(next(&mut queue), Some(3));
}

/// What a random user does.
#[derive(Debug, Clone)]
enum Step {
    Insert { key: u8, provider: u8, tree: u8, priority: i8, delay: u8, after: u8 },
    Next,
    End(u8),
    Requeue(u8, u8),
    Take(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8, 0..2u8, 0..3u8, -1..2i8, 0..4u8, 0..4u8).prop_map(|(key, provider, tree, priority, delay, after)| {
            Step::Insert { key, provider, tree, priority, delay, after }
        }),
        4 => Just(Step::Next),
        3 => any::<u8>().prop_map(Step::End),
        1 => (any::<u8>(), 0..4u8).prop_map(|(which, delay)| Step::Requeue(which, delay)),
        1 => any::<u8>().prop_map(Step::Take),
        1 => (1..4u8).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn limits_hold_and_every_turn_is_run_in_the_end(steps in prop::collection::vec(step(), 1..120)) {
        let mut queue = queue(3, 2, 1);
        let mut running: BTreeMap<TurnId, (u8, u8)> = BTreeMap::new();
        let mut all: BTreeMap<TurnId, (u8, u8)> = BTreeMap::new();
        let (mut now, mut count) = (NOW, 0u128);
        for step in steps {
            let pick = |which: u8, from: &BTreeMap<TurnId, (u8, u8)>| from.keys().nth(usize::from(which) % from.len().max(1)).copied();
            match step {
                Step::Insert { key, provider, tree, priority, delay, after } => {
                    count += 1;
                    let line = Line { key: key.to_string().into(), batch: None, provider: provider.to_string().into() };
                    let after = pick(after, &all).filter(|_| after > 0);
                    let waiting = Waiting {
                        priority: priority.into(),
                        line,
                        root: ConversationId(Uuid::from_u128(tree.into())),
                        not_before: (delay > 0).then_some(Time { unix_us: now.unix_us + i64::from(delay) }),
                        after,
                        ..turn(count, "")
                    };
                    queue.insert(waiting, after.is_some(), now);
                    all.insert(id(count), (provider, tree));
                }
                Step::Next => if let Some(next) = queue.next(now) {
                    prop_assert!(running.insert(next, all[&next]).is_none(), "it runs already");
                },
                Step::End(which) => if let Some(ended) = pick(which, &running) {
                    queue.ended(ended, now);
                    running.remove(&ended);
                    all.remove(&ended);
                },
                Step::Requeue(which, delay) => if let Some(again) = pick(which, &running) {
                    queue.requeue(again, Some(Time { unix_us: now.unix_us + i64::from(delay) }), now);
                    running.remove(&again);
                },
                Step::Take(which) => if let Some(taken) = pick(which, &all) {
                    prop_assert_eq!(queue.take_waiting(taken), !running.contains_key(&taken));
                    if !running.contains_key(&taken) {
                        queue.ended(taken, now);
                        all.remove(&taken);
                    }
                },
                Step::Wait(us) => now.unix_us += i64::from(us),
            }
            prop_assert!(running.len() <= 3);
            for provider in 0..2 {
                prop_assert!(running.values().filter(|(of, _)| *of == provider).count() <= 2);
            }
            for tree in 0..3 {
                prop_assert!(running.values().filter(|(_, of)| *of == tree).count() <= 1);
            }
            prop_assert_eq!(queue.len(), all.len());
        }
        // Whoever runs ends: then all come to run.
        now.unix_us += 1000;
        for _ in 0..=2 * count {
            while let Some(next) = queue.next(now) {
                running.insert(next, all[&next]);
            }
            match running.pop_first() {
                Some((ended, _)) => {
                    queue.ended(ended, now);
                    all.remove(&ended);
                }
                None => break,
            }
        }
        prop_assert!(all.is_empty(), "left behind: {all:?}");
    }
}
