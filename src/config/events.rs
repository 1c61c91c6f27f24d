use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// What a reader of events gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// After how long a silence a heartbeat is sent.
    pub heartbeat: Duration,
}

impl Events {
    pub(super) fn read(from: &mut Reader<'_>) -> Events {
        Events {
            heartbeat: from.get(
                "events.heartbeat",
                Rule::duration("1s", "5m"),
                "15s",
                "After how long a silence a stream gets a heartbeat. Shorter than the idle timeout of any proxy between.",
            ),
        }
    }
}
