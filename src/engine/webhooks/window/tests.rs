use super::*;
use crate::domain::{ConversationId, TurnId, TurnState};

fn at(unix_us: i64) -> Time {
    Time { unix_us }
}

fn item(revision: u64, tree: u128) -> Item {
    let change = Change {
        revision,
        at: at(0),
        kind: ChangeKind::VersionCreated,
        turn_id: TurnId(Uuid::from_u128(u128::from(revision))),
        state: TurnState::Completed,
        root_id: ConversationId(Uuid::from_u128(tree)),
        parent_id: None,
        model: String::new(),
        agent_id: None,
        labels: Vec::new(),
        attempt: 0,
        batch: None,
        callback_url: None,
    };
    Item { change: Arc::new(change), again: false, failed: 0, attempts: 0, failing_since: None }
}

fn window(items: &[(u64, u128)]) -> Window {
    let mut window = Window::new(0);
    items.iter().for_each(|(revision, tree)| window.push(item(*revision, *tree), at(0)));
    window
}

fn taken(window: &mut Window, now: i64) -> Vec<u64> {
    std::iter::from_fn(|| window.take(at(now))).map(|item| item.change.revision).collect()
}

#[test]
fn trees_go_side_by_side_and_each_in_order() {
    let mut window = window(&[(1, 1), (2, 2), (3, 1), (4, 3)]);
    assert_eq!(taken(&mut window, 0), [1, 2, 4]);
    assert_eq!(window.told(), 0);
    window.done(&item(2, 2), at(0));
    window.done(&item(4, 3), at(0));
    assert_eq!((taken(&mut window, 0), window.told()), (vec![], 0));
    window.done(&item(1, 1), at(0));
    assert_eq!((taken(&mut window, 0), window.told()), (vec![3], 2));
    window.done(&item(3, 1), at(0));
    window.pass(9);
    assert_eq!((window.told(), window.room()), (9, ROOM));
}

#[test]
fn a_tree_that_fails_waits_and_holds_up_no_other() {
    let mut window = window(&[(1, 1), (2, 2)]);
    let first = window.take(at(0)).expect("it is due");
    window.failed(Item { failed: 1, ..first }, at(100));
    assert_eq!(taken(&mut window, 99), [2]);
    window.push(item(3, 1), at(50));
    window.push(item(4, 4), at(50));
    assert_eq!(
        (taken(&mut window, 99), window.next_due(), window.next_retry()),
        (vec![4], Some(at(100)), Some(at(100)))
    );
    assert!(window.is_oldest(1) && window.holds(3));
    let first = window.take(at(100)).expect("its time has come");
    assert_eq!((first.change.revision, first.failed), (1, 1));
}

#[test]
fn where_there_is_hope_nobody_waits() {
    let mut window = window(&[(1, 1), (2, 2), (3, 3)]);
    for revision in [1, 2] {
        let item = window.take(at(0)).expect("it is due");
        assert_eq!(item.change.revision, revision);
        window.failed(Item { failed: 1, ..item }, at(1000));
    }
    let third = window.take(at(0)).expect("it is due");
    window.hasten(at(10));
    assert_eq!(taken(&mut window, 10), [1, 2], "what is under way is not sent twice");
    window.done(&third, at(10));
    assert_eq!(window.told(), 0);
}

#[test]
fn what_is_told_again_moves_no_place() {
    let mut window = Window::new(10);
    window.push(Item { again: true, ..item(3, 1) }, at(0));
    window.push(item(11, 1), at(0));
    let again = window.take(at(0)).expect("it is due");
    assert_eq!((again.change.revision, window.told(), window.read()), (3, 10, 11));
    assert!(window.take(at(0)).is_none(), "not beside another one of its tree");
    window.done(&again, at(0));
    assert_eq!((taken(&mut window, 0), window.told()), (vec![11], 10));
}

#[test]
fn a_full_window_takes_no_more() {
    let mut window = window(&[]);
    (1..=ROOM as u64).for_each(|revision| window.push(item(revision, 1), at(0)));
    assert_eq!(window.room(), 0);
    let first = window.take(at(0)).expect("it is due");
    window.done(&first, at(0));
    assert_eq!(window.room(), 1);
}
