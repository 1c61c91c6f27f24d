use super::{reader::Reader, rule::Rule};

/// What the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives in the syntax of RUST_LOG. `tracing_subscriber::EnvFilter` takes it.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether prompts and answers may stand in the log.
    pub content: bool,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl Log {
    pub(super) fn read(from: &mut Reader<'_>) -> Log {
        Log {
            level: from.get(
                "log.level",
                Rule::log_filter(),
                "info",
                "What is logged, on stderr: a level, or directives as in RUST_LOG, such as causerie=debug,warn.",
            ),
            format: from.get(
                "log.format",
                Rule::one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
                "text",
                "How it is logged: text for people, json for programs.",
            ),
            content: from.get(
                "log.content",
                Rule::switch(),
                "false",
                "Write prompts and answers into the log. Only for finding a fault, never where others read the log.",
            ),
        }
    }
}
