use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// How the service ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long running turns may go on after the service was told to stop.
    pub grace: Duration,
}

impl Shutdown {
    pub(super) fn read(from: &mut Reader<'_>) -> Shutdown {
        Shutdown {
            grace: from.get(
                "shutdown.grace",
                Rule::duration("0s", "1h"),
                "20s",
                "How long running turns may go on after the service was told to stop (SIGTERM, Ctrl-C).",
            ),
        }
    }
}
