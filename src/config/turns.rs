use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// How turns run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// The longest that a turn may run, whatever deadline its caller gave.
    pub timeout: Duration,
    /// How long a turn that can be re-attached outlives its last reader.
    pub grace: Duration,
    /// How many turns may run at once; more are refused as OVERLOADED.
    pub max_in_flight: usize,
    /// Memory for histories that are ready to be sent.
    pub history_cache_bytes: u64,
    /// How often the model of a turn may ask for tools that the service runs.
    pub max_tool_rounds: u32,
    /// How often a turn may go from agent to agent.
    pub max_handoffs: u32,
    /// How many tools one turn may run at once.
    pub max_parallel_tools: usize,
}

impl Turns {
    pub(super) fn read(from: &mut Reader<'_>) -> Turns {
        Turns {
            timeout: from.get(
                "turns.timeout",
                Rule::duration("1s", "24h"),
                "10m",
                "The longest that a turn may run, whatever deadline its caller gave.",
            ),
            grace: from.get(
                "turns.grace",
                Rule::duration("0s", "1h"),
                "30s",
                "How long a streamed turn outlives its last reader, so that a lost connection can be taken up again.",
            ),
            max_in_flight: from.get(
                "turns.max_in_flight",
                Rule::count(1..=1_000_000),
                "4096",
                "How many turns may run at once; more are refused as OVERLOADED.",
            ),
            history_cache_bytes: from.get(
                "turns.history_cache_mib",
                Rule::mib(0..=1_048_576),
                "128",
                "Memory for histories that are ready to be sent, in MiB.",
            ),
            max_tool_rounds: from.get(
                "turns.max_tool_rounds",
                Rule::count(1..=1000),
                "16",
                "How often the model of a turn may ask for tools that the service runs.",
            ),
            max_handoffs: from.get(
                "turns.max_handoffs",
                Rule::count(0..=1000),
                "8",
                "How often a turn may go from agent to agent.",
            ),
            max_parallel_tools: from.get(
                "turns.max_parallel_tools",
                Rule::count(1..=1024),
                "16",
                "How many tools one turn may run at once.",
            ),
        }
    }
}
