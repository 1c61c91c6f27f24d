//! What a model that asks for tools, the tools' server and a caller without the service between have agreed on.
//!
//! The model's name says how often and for how much it asks; the result of a tool says in which round that was. So nobody has to
//! keep a state, and both ways carry the same bytes.

/// How a turn uses tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    /// Calls of an answer.
    pub(crate) calls: usize,
    /// Answers that ask for some.
    pub(crate) rounds: usize,
}

/// The tool's name.
pub(crate) const TOOL: &str = "weather";

/// What it does, for the model.
pub(crate) const DESCRIPTION: &str = "The weather of a place, as it is now.";

/// About what a tool tells.
pub(crate) const RESULT_BYTES: usize = 400;

const ROUND: &str = "round=";
const MODEL: &str = "tools-";

impl Use {
    /// The model that asks so.
    pub(crate) fn model(self) -> String {
        format!("{MODEL}{}x{}", self.calls, self.rounds)
    }

    /// What the model that a request names does.
    pub(crate) fn of(request: &[u8]) -> Option<Use> {
        let name = after(request, &format!("\"model\":\"{MODEL}"))?;
        let (calls, rest) = number(name)?;
        let (rounds, _) = number(rest.strip_prefix(b"x")?)?;
        Some(Use { calls, rounds })
    }
}

/// The arguments of a call.
pub(crate) fn arguments(call: usize, round: usize) -> String {
    format!("{{\"place\":\"Lyon {call}\",\"round\":{round}}}")
}

/// What stands behind the tool's address in a call.
pub(crate) fn query(call: usize, round: usize) -> String {
    format!("place=Lyon+{call}&{ROUND}{round}")
}

/// What the tool tells.
pub(crate) fn result(told: &str, round: usize) -> String {
    format!("{told} {ROUND}{round}")
}

/// The last round that these bytes speak of.
pub(crate) fn round(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(ROUND.len()).rposition(|at| at == ROUND.as_bytes())?;
    number(&bytes[at + ROUND.len()..]).map(|(round, _)| round)
}

/// JSON Schema of the arguments, of the size that schemas have.
pub(crate) fn parameters() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "A town, and what tells it from others of its name", "minLength": 1},
            "round": {"type": "integer", "minimum": 0},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Default: celsius"},
        },
        "required": ["place", "round"],
        "additionalProperties": false,
    })
}

fn after<'a>(bytes: &'a [u8], what: &str) -> Option<&'a [u8]> {
    let at = bytes.windows(what.len()).position(|at| at == what.as_bytes())?;
    Some(&bytes[at + what.len()..])
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at(digits);
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}
