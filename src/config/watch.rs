use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// How long it is kept what happened in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Changes older than this go.
    pub retention: Duration,
    /// The oldest changes go when all take more than this.
    pub max_bytes: u64,
}

impl Watch {
    pub(super) fn read(from: &mut Reader<'_>) -> Watch {
        Watch {
            retention: from.get(
                "watch.retention",
                Rule::duration("0s", "3650d"),
                "7d",
                "How long changes can be read. Watchers and webhooks that fall further behind have to begin again.",
            ),
            max_bytes: from.get(
                "watch.max_mib",
                Rule::mib(0..=1_048_576),
                "1024",
                "How much room changes may take on disk, in MiB; the oldest go first. One takes some 200 bytes.",
            ),
        }
    }
}
