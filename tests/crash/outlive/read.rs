//! Readers of a turn's events that lose their connection and go on after the last event that they have.

use std::sync::Mutex;

use tonic::Status;

use super::known::{Known, is_terminal, lock};
use crate::support::{calls, random::Dice, server::Client};

/// Reads a turn to its end, with a break now and then; a server that is gone ends it, too.
pub(super) async fn to_end(client: Client, known: &Mutex<Known>, turn_id: &str, mut dice: Dice) -> Result<(), Status> {
    loop {
        let after = last_sequence(known, turn_id);
        let request = calls::resume(turn_id, after);
        let request = causerie::proto::StreamEventsRequest { request: Some(request), ..Default::default() };
        let mut stream = client.clone().stream_events(request).await?.into_inner();
        let few = dice.one_in(2).then(|| 1 + dice.below(6));
        for _ in 0..few.unwrap_or(usize::MAX) {
            let event = stream.message().await?.ok_or_else(|| Status::unavailable("the stream has no end"))?;
            if event.sequence == 0 {
                continue;
            }
            let is_last = is_terminal(&event);
            lock(known).read(turn_id, event);
            if is_last {
                return Ok(());
            }
        }
    }
}

fn last_sequence(known: &Mutex<Known>, turn_id: &str) -> i64 {
    let mut known = lock(known);
    let events = known.readings.entry(turn_id.to_owned()).or_default();
    events.last().map_or(0, |event| event.sequence)
}
