//! What happens in a turn beside the answer, as lines that a person reads while it happens: tools, handoffs, retries.

use std::time::Duration;

use super::text;
use crate::proto::{AgentHandoff, ToolExecutionDone, ToolExecutionStarted, event::Kind};

/// How much of a call and of a result is shown: a line or two.
const MOST_ARGUMENTS: usize = 100;
const MOST_RESULT: usize = 160;

/// What happened so far, so that what comes later can be told from each other.
#[derive(Debug, Default)]
pub(super) struct Steps {
    runs: Vec<Run>,
    /// Handoffs that have begun.
    handoffs: Vec<(String, AgentHandoff)>,
}

/// A tool that runs, or has run.
#[derive(Debug)]
struct Run {
    entry_id: String,
    /// Its arguments came in pieces and were not shown yet.
    arguments: Option<String>,
    began_at: Option<prost_types::Timestamp>,
}

impl Steps {
    /// The line for an event, if a person wants to know of it.
    pub(super) fn line(&mut self, kind: &Kind, at: Option<&prost_types::Timestamp>) -> Option<String> {
        match kind {
            Kind::ToolExecutionStarted(run) => Some(self.started(run, at)),
            Kind::ToolExecutionDelta(piece) => {
                let number = self.number(&piece.entry_id);
                let run = number.checked_sub(1).and_then(|i| self.runs.get_mut(i));
                if let Some(arguments) = run.and_then(|run| run.arguments.as_mut()) {
                    arguments.push_str(&piece.arguments);
                }
                let message = text::shortened(&piece.message, MOST_RESULT);
                (!message.is_empty()).then(|| format!("tool {number}: {message}"))
            }
            Kind::ToolExecutionDone(run) => Some(self.done(run, at)),
            Kind::AgentHandoffStarted(handoff) => {
                let begun = AgentHandoff {
                    previous_agent_id: handoff.previous_agent_id.clone(),
                    previous_agent_name: handoff.previous_agent_name.clone(),
                    ..AgentHandoff::default()
                };
                self.handoffs.push((handoff.entry_id.clone(), begun));
                None
            }
            Kind::AgentHandoffDone(handoff) => {
                let begun = self.handoffs.iter().find(|(id, _)| *id == handoff.entry_id);
                let begun = begun.map(|(_, begun)| begun.clone()).unwrap_or_default();
                let next_agent_name = handoff.next_agent_name.clone();
                Some(text::handed_over(&AgentHandoff { next_agent_name, ..begun }))
            }
            Kind::UpstreamRetry(retry) => {
                let delay_s = Duration::from_millis(retry.delay_ms.unsigned_abs()).as_secs_f64();
                let (model, next) = (&retry.model, retry.attempt.saturating_add(1));
                Some(format!("asking {model} again in {delay_s:.1} s (attempt {next}){}", why(retry.error.as_ref())))
            }
            Kind::UpstreamSwitched(switch) => {
                let (from, to) = (&switch.from_model, &switch.to_model);
                Some(format!("asking {to} in place of {from}{}", why(switch.error.as_ref())))
            }
            // What the others say is shown as the answer or when the turn ends, or is of no use to a person.
            _ => None,
        }
    }

    fn started(&mut self, run: &ToolExecutionStarted, at: Option<&prost_types::Timestamp>) -> String {
        let arguments = run.arguments.is_empty().then(String::new);
        self.runs.push(Run { entry_id: run.entry_id.clone(), arguments, began_at: at.copied() });
        format!("tool {}: {}", self.runs.len(), called(&run.name, &run.arguments))
    }

    fn done(&self, run: &ToolExecutionDone, at: Option<&prost_types::Timestamp>) -> String {
        let number = self.number(&run.entry_id);
        let known = number.checked_sub(1).and_then(|i| self.runs.get(i));
        let began_at = known.and_then(|known| known.began_at.as_ref());
        // Of tools that a provider runs, the arguments are known only now.
        let name = match known.and_then(|known| known.arguments.as_deref()) {
            Some(arguments) if !arguments.is_empty() => called(&run.name, arguments),
            Some(_) | None => run.name.clone(),
        };
        let time = began_at.zip(at).and_then(|(began, ended)| between(began, ended));
        let result = text::shortened(&text::plain(&run.result), MOST_RESULT);
        let took = |word: &str| time.map_or_else(String::new, |time| format!(" {word} {}", text::took(time)));
        let ended = match (&run.error, result.as_str()) {
            (Some(error), _) => format!("failed{}{}", took("after"), why(Some(error))),
            (None, "") => format!("returned nothing{}", took("in")),
            (None, result) => format!("returned{}: {result}", took("in")),
        };
        format!("tool {number}: {name} {ended}")
    }

    /// Tools are counted as they begin; 0 is one that was never heard of.
    fn number(&self, entry_id: &str) -> usize {
        self.runs.iter().position(|run| run.entry_id == entry_id).map_or(0, |i| i + 1)
    }
}

fn called(name: &str, arguments: &str) -> String {
    format!("{name}({})", text::shortened(arguments, MOST_ARGUMENTS))
}

fn between(began: &prost_types::Timestamp, ended: &prost_types::Timestamp) -> Option<Duration> {
    text::time(ended)?.duration_since(text::time(began)?).try_into().ok()
}

fn why(error: Option<&tonic_types::pb::Status>) -> String {
    error.map_or_else(String::new, |error| format!(": {}", text::shortened(&error.message, 2 * MOST_RESULT)))
}

#[cfg(test)]
mod tests {
    use tonic_types::pb::Status;

    use super::*;
    use crate::proto::{AgentHandoffDone, AgentHandoffStarted, Chunk, ToolExecutionDelta, chunk};

    fn started(entry_id: &str, arguments: &str) -> Kind {
        let (entry_id, name, arguments) = (entry_id.into(), "weather".into(), arguments.into());
        Kind::ToolExecutionStarted(ToolExecutionStarted {
            entry_id,
            name,
            arguments,
            ..ToolExecutionStarted::default()
        })
    }

    fn progress(entry_id: &str, message: &str, arguments: &str) -> Kind {
        let (entry_id, message, arguments) = (entry_id.into(), message.into(), arguments.into());
        Kind::ToolExecutionDelta(ToolExecutionDelta { entry_id, message, arguments, ..ToolExecutionDelta::default() })
    }

    fn done(entry_id: &str, result: &str, error: Option<&str>) -> Kind {
        let result = vec![Chunk { kind: Some(chunk::Kind::Text(result.into())) }];
        let error = error.map(|message| Status { message: message.into(), ..Status::default() });
        let (entry_id, name) = (entry_id.into(), "weather".into());
        Kind::ToolExecutionDone(ToolExecutionDone { entry_id, name, result, error, ..ToolExecutionDone::default() })
    }

    /// The lines of events, each so many milliseconds after the beginning.
    fn lines(events: &[(i64, Kind)]) -> Vec<String> {
        let mut steps = Steps::default();
        let told = events.iter().filter_map(|(ms, kind)| {
            let nanos = i32::try_from(ms % 1000 * 1_000_000).expect("less than a second");
            steps.line(kind, Some(&prost_types::Timestamp { seconds: ms / 1000, nanos }))
        });
        told.collect()
    }

    #[test]
    fn parallel_runs_are_told_apart() {
        let told = lines(&[
            (0, started("exec_1", "{\"city\":\"Paris\"}")),
            (0, started("exec_2", "{\"city\":\"Oslo\"}")),
            (300, progress("exec_2", "half way", "")),
            (1_250, done("exec_2", "", Some("no such city"))),
            (1_300, started("exec_3", "{}")),
            (1_340, done("exec_1", "{\n  \"degrees\": 18\n}", None)),
            (1_350, done("exec_3", "", None)),
        ]);
        let expected = [
            "tool 1: weather({\"city\":\"Paris\"})",
            "tool 2: weather({\"city\":\"Oslo\"})",
            "tool 2: half way",
            "tool 2: weather failed after 1.2 s: no such city",
            "tool 3: weather({})",
            "tool 1: weather returned in 1.3 s: { \"degrees\": 18 }",
            "tool 3: weather returned nothing in 50 ms",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn arguments_that_came_in_pieces_are_shown_at_the_end() {
        let told = lines(&[
            (0, started("exec_1", "")),
            (1, progress("exec_1", "", "{\"query\":")),
            (2, progress("exec_1", "", "\"sled\"}")),
            (9, done("exec_1", "ten pages", None)),
        ]);
        assert_eq!(told, ["tool 1: weather()", "tool 1: weather({\"query\":\"sled\"}) returned in 9 ms: ten pages"]);
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = "word ".repeat(10_000);
        for line in
            lines(&[(0, started("exec_1", &long)), (1, done("exec_1", &long, None)), (2, done("", "", Some(&long)))])
        {
            assert!(line.chars().count() < 400, "{line}");
        }
    }

    #[test]
    fn a_handoff_names_both() {
        let begun = AgentHandoffStarted {
            entry_id: "handoff_1".into(),
            previous_agent_name: "triage".into(),
            ..AgentHandoffStarted::default()
        };
        let ended = AgentHandoffDone {
            entry_id: "handoff_1".into(),
            next_agent_name: "billing".into(),
            ..AgentHandoffDone::default()
        };
        let told = lines(&[(0, Kind::AgentHandoffStarted(begun)), (1, Kind::AgentHandoffDone(ended))]);
        assert_eq!(told, ["triage hands over to billing"]);
    }
}
