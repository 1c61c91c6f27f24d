//! Which events were told: after a lost connection those of turns whose end was not seen come again.

use std::collections::HashMap;

use crate::proto::{Event, event::Kind};

/// The last sequence told of each turn whose end is not told yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    turns: HashMap<String, Last>,
}

#[derive(Debug)]
struct Last {
    sequence: i64,
    /// It was the last one of all.
    ended: bool,
}

impl Told {
    /// Whether an event was not told before. Notes that it is now.
    pub(super) fn is_new(&mut self, event: &Event) -> bool {
        let last = self.turns.entry(event.turn_id.clone()).or_insert(Last { sequence: 0, ended: false });
        let is_new = event.sequence > last.sequence;
        if is_new {
            last.sequence = event.sequence;
            last.ended = matches!(event.kind, Some(Kind::ResponseDone(_) | Kind::ResponseError(_)));
        }
        is_new
    }

    /// The changes that tell the ends of turns were told: those turns do not come again.
    pub(super) fn forget_ended(&mut self) {
        self.turns.retain(|_, last| !last.ended);
    }
}
