use super::*;
use crate::engine::{failures::turn_lost, live};

fn id(n: u128) -> TurnId {
    TurnId(uuid::Uuid::from_u128(n))
}

fn turn(n: u128, state: TurnState) -> Turn {
    Turn { state, ..live::lost(id(n), turn_lost(id(n))) }
}

fn stretch(ids: &[u128], state: TurnState, down_to: Option<u128>) -> Stretch<Turn> {
    Stretch { rows: ids.iter().map(|n| turn(*n, state)).collect(), down_to: down_to.map(id) }
}

/// The ids and states of a page, and where the next one begins.
fn page(found: Vec<Stretch<Turn>>, limit: usize) -> (Vec<(u128, TurnState)>, Option<u128>) {
    let TurnPage { turns, next } = merged(found, limit);
    (turns.iter().map(|turn| (turn.id.0.as_u128(), turn.state)).collect(), next.map(|id| id.0.as_u128()))
}

use TurnState::{Completed, Failed, Running};

#[test]
fn a_turn_counts_once_and_as_the_last_source_has_it() {
    let found =
        vec![stretch(&[9, 5], Running, None), stretch(&[7, 5, 2], Completed, None), stretch(&[8], Failed, None)];
    let all = vec![(9, Running), (8, Failed), (7, Completed), (5, Completed), (2, Completed)];
    assert_eq!(page(found, 5), (all, None));
}

#[test]
fn a_page_goes_no_further_than_each_source_was_looked_through() {
    let found =
        || vec![stretch(&[9, 3], Running, None), stretch(&[7, 6], Completed, Some(5)), stretch(&[], Failed, Some(1))];
    assert_eq!(page(found(), 9), (vec![(9, Running), (7, Completed), (6, Completed)], Some(5)));
    assert_eq!(page(found(), 3), (vec![(9, Running), (7, Completed), (6, Completed)], Some(5)));
    assert_eq!(page(found(), 2), (vec![(9, Running), (7, Completed)], Some(7)));
}

#[test]
fn a_page_may_be_empty_and_not_the_last() {
    assert_eq!(page(vec![stretch(&[], Completed, Some(4)), stretch(&[3], Running, None)], 2), (vec![], Some(4)));
    assert_eq!(page(Vec::new(), 2), (vec![], None));
}
