use super::{reader::Reader, rule::Rule};

/// What a client may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many calls may run at once on one connection.
    pub max_streams_per_connection: u32,
    /// How many calls may run at once on all connections together.
    pub max_calls: u32,
    /// The largest message in either direction.
    pub message_bytes: usize,
}

impl Limits {
    pub(super) fn read(from: &mut Reader<'_>) -> Limits {
        Limits {
            max_connections: from.get(
                "limits.max_connections",
                Rule::count(1..=1_000_000),
                "10000",
                "How many connections may be open at once.",
            ),
            max_streams_per_connection: from.get(
                "limits.max_streams_per_connection",
                Rule::count(1..=100_000),
                "1000",
                "How many calls may run at once on one connection.",
            ),
            max_calls: from.get(
                "limits.max_calls",
                Rule::count(1..=1_000_000),
                "10000",
                "How many calls may run at once on all connections together, readers of turns and watchers included.",
            ),
            message_bytes: from.get(
                "limits.message_mib",
                Rule::mib(1..=16),
                "4",
                "The largest message in either direction, in MiB. Many clients take no more than 4.",
            ),
        }
    }
}
