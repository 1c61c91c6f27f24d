//! `/offline …` lines at the top of a user message: how to ask the stand-in for trouble.

use std::time::Duration;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::samples;

/// What may stand after `/offline `, one line each. Several lines may stand at the top of one message.
pub const DIRECTIVES: &[&str] = &[
    "only <model>",
    "call <tool> [arguments]",
    "error <status> [variant] [retry-after seconds]",
    "words <n>",
    "delay <ms>",
    "pace <ms>",
    "cut <n>",
    "garbage",
    "finish <reason>",
    "think",
    "stall",
    "help",
];

const MARK: &str = "/offline";

/// The longest answer that `words` makes.
const WORDS_MAX: usize = 100_000;

/// How a request asked to be treated.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// All of this holds for this model alone, so that another one can stand in for it.
    pub(super) only: Option<String>,
    /// Call these, one in each round, and answer after the last.
    pub(super) calls: Vec<Directed>,
    /// Answer with this error.
    pub(super) failure: Option<Failure>,
    /// Answer with so many words.
    pub(super) words: Option<usize>,
    /// Wait before the headers.
    pub(super) delay: Option<Duration>,
    /// Wait between two chunks of the stream.
    pub(super) pace: Option<Duration>,
    /// Drop the connection after so many chunks.
    pub(super) cut: Option<usize>,
    /// Send a chunk that is no JSON.
    pub(super) garbage: bool,
    /// End with this finish reason.
    pub(super) finish: Option<String>,
    /// Think before the answer.
    pub(super) think: bool,
    /// Send all but the end, then nothing.
    pub(super) stall: bool,
    /// Explain the directives, because one was not understood or help was asked for.
    pub(super) help: bool,
}

/// A call that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Directed {
    pub(super) name: String,
    /// None: an example of what the tool takes.
    pub(super) arguments: Option<Map<String, Value>>,
}

/// Splits a user message into its directives and what is left of it.
pub(super) fn parse(text: &str) -> (Script, &str) {
    let mut script = Script::default();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(MARK) {
        let (line, next) = after.split_once('\n').unwrap_or((after, ""));
        if script.obey(line).is_none() {
            script.help = true;
        }
        rest = next;
    }
    (script, rest)
}

impl Script {
    /// What of this holds for a model: all, or nothing.
    pub(super) fn of(self, model: &str) -> Script {
        if self.only.as_ref().is_none_or(|only| only == model) { self } else { Script::default() }
    }

    /// Takes one directive; none when it is not understood.
    fn obey(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "only" => self.only = Some(words.next()?.to_owned()),
            "call" => self.calls.push(directed(line.trim_start().strip_prefix("call")?)?),
            "error" => self.failure = Some(error(&mut words)?),
            "words" => self.words = Some(words.next()?.parse::<usize>().ok()?.min(WORDS_MAX)),
            "delay" => self.delay = Some(Duration::from_millis(words.next()?.parse().ok()?)),
            "pace" => self.pace = Some(Duration::from_millis(words.next()?.parse().ok()?)),
            "cut" => self.cut = Some(words.next()?.parse().ok()?),
            "garbage" => self.garbage = true,
            "finish" => self.finish = Some(words.next()?.to_owned()),
            "think" => self.think = true,
            "stall" => self.stall = true,
            _ => return None,
        }
        Some(())
    }
}

fn directed(text: &str) -> Option<Directed> {
    let (name, arguments) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let arguments = match arguments.trim() {
        "" => None,
        written => Some(serde_json::from_str(written).ok()?),
    };
    (!name.is_empty()).then(|| Directed { name: name.to_owned(), arguments })
}

fn error<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Failure> {
    let status = words.next()?.parse().ok().filter(|status| (400..600).contains(status))?;
    let (mut variant, mut retry_after_s) = (None, None);
    for word in words {
        // `500 3000` names a variant: a number is one only where no variant was named before.
        match word.parse() {
            Ok(seconds) if variant.is_some() || status != 500 => retry_after_s = Some(seconds),
            _ => variant = Some(word),
        }
    }
    Some(samples::failure(status, variant, retry_after_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_lines_are_directives_and_the_rest_is_the_message() {
        let (script, rest) = parse("/offline words 3\n/offline pace 7\nHello\n/offline stall");
        assert_eq!((script.words, script.pace), (Some(3), Some(Duration::from_millis(7))));
        assert!(!script.stall && !script.help);
        assert_eq!(rest, "Hello\n/offline stall");
    }

    #[test]
    fn what_is_not_understood_asks_for_help() {
        let calls = ["/offline call", "/offline call f 1", "/offline call f {\"a\""];
        for text in ["/offline", "/offline help", "/offline dance", "/offline words", "/offline error 200"]
            .into_iter()
            .chain(calls)
        {
            assert!(parse(text).0.help, "{text}");
        }
    }

    #[test]
    fn one_model_can_be_meant_alone() {
        let (script, rest) = parse("/offline only offline-small\n/offline stall\nHello");
        assert!(script.of("offline-small").stall);
        assert!(!parse("/offline only offline-small\n/offline stall\nHello").0.of("offline-large").stall);
        assert!(parse("/offline only").0.help, "it names one");
        assert_eq!(rest, "Hello");
    }

    #[test]
    fn calls_come_in_their_order_with_their_arguments() {
        let (script, rest) = parse("/offline call f {\"a\": \"b c\"}\n/offline call  g \nHello");
        let read =
            |call: &Directed| (call.name.clone(), call.arguments.clone().map(|given| Value::from(given).to_string()));
        let calls: Vec<_> = script.calls.iter().map(read).collect();
        assert_eq!(calls, [("f".to_owned(), Some("{\"a\":\"b c\"}".to_owned())), ("g".to_owned(), None)]);
        assert_eq!((rest, script.help), ("Hello", false));
    }

    #[test]
    fn an_error_takes_a_variant_and_a_retry_time() {
        for (text, retry_after_s, body) in [
            ("/offline error 429", None, "1300"),
            ("/offline error 429 7", Some(7), "1300"),
            ("/offline error 429 capacity 2", Some(2), "3505"),
            ("/offline error 500 3000", None, "3000"),
            ("/offline error 500 text 1", Some(1), "Internal"),
        ] {
            let failure = parse(text).0.failure.expect(text);
            assert_eq!(failure.retry_after_s, retry_after_s, "{text}");
            assert!(failure.body.contains(body), "{text}");
        }
    }
}
