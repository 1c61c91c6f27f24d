//! Running turns, and what they leave pending.

use jiff::Timestamp;

use super::{
    super::{
        pending::Pending,
        read,
        requests::{self, Said, Settings},
        spending, text, turn,
    },
    Ending, Flow, Session, places,
};
use crate::{
    cli::Failure,
    proto::{Entry, ErrorReason, Turn, entry, stream_events_request::Request, turn::FinishReason, turn::State},
};

impl Session {
    pub(super) async fn take_turn(&mut self, said: Said) -> Result<Flow, Failure> {
        let request = match (&self.version, &self.place) {
            (None, _) => requests::start(said, &self.settings),
            (Some(id), None) => requests::append(id, said, &self.settings),
            (Some(id), Some(place)) => requests::restart(id, place, said, &self.settings),
        };
        self.run(request).await
    }

    /// Asks for another answer to what was last asked or told: a question, a result, a handoff.
    pub(super) async fn answer_anew(&mut self) -> Result<Flow, Failure> {
        let id = self.existing()?.to_owned();
        let entries = read::entries(&mut self.client, &id).await?;
        // A tool that ran is not run again: who asks for another answer does not ask for what it did.
        let answered = |entry: &&Entry| match &entry.kind {
            Some(entry::Kind::FunctionResult(_) | entry::Kind::ToolExecution(_) | entry::Kind::AgentHandoff(_)) => true,
            _ => text::question(entry).is_some(),
        };
        let Some(last) = entries.iter().rev().find(answered) else {
            return Err(Failure::new("there is no question yet that could be answered again"));
        };
        let place = places::after(last);
        self.run(requests::restart(&id, &place, Said::Nothing, &self.settings)).await
    }

    pub(super) async fn run(&mut self, request: Request) -> Result<Flow, Failure> {
        let turn = turn::run(&mut self.client, &mut self.screen, request).await?;
        if self.version.is_none() {
            self.hint(&format!("this is {}", turn.conversation_id))?;
        }
        let before = self.who();
        self.version = Some(turn.conversation_id.clone());
        self.led_by_turn(&turn).await;
        self.settings = Settings::default();
        self.place = None;
        self.ending = Ending::of(&turn);
        self.pending = Pending::default();
        self.pending = self.left_by(&turn).await?;
        self.say_what_it_took(&turn).await?;
        if !before.is_empty() && before != self.who() {
            self.hint(&format!("{} answers from here on", self.who()))?;
        }
        self.say_what_is_next(&turn)
    }

    /// The calls that wait now: of this turn, and of those before it.
    async fn left_by(&mut self, turn: &Turn) -> Result<Pending, Failure> {
        if !matches!(turn.state(), State::RequiresAction | State::Incomplete) {
            return Ok(Pending::default());
        }
        let version = read::conversation(&mut self.client, &turn.conversation_id).await?;
        let ids = version.pending_tool_call_ids;
        let calls = if ids.is_empty() { Vec::new() } else { read::calls(&mut self.client, &version.id, &ids).await? };
        Ok(Pending::new(calls))
    }

    async fn say_what_it_took(&mut self, turn: &Turn) -> Result<(), Failure> {
        for omission in &turn.omissions {
            self.screen.note(&spending::omission(omission))?;
        }
        let asked = turn.usage.as_ref().is_some_and(|usage| usage.total_tokens > 0);
        if !self.is_interactive() || !asked {
            return Ok(());
        }
        let mut line = spending::turn(turn);
        // The answer is there; only its sum is missing if this fails.
        if let Ok(version) = read::conversation(&mut self.client, &turn.conversation_id).await
            && version.turn_count > 1
        {
            line.push_str(&format!(" · conversation: {}", spending::conversation(&version)));
        }
        self.hint(&line)
    }

    fn say_what_is_next(&mut self, turn: &Turn) -> Result<Flow, Failure> {
        let failure = match (turn.state(), &self.ending) {
            (State::Incomplete, _) => Failure::new(why_cut(turn)),
            (State::RequiresAction, Ending::AsksPerson(message)) => {
                Failure::new(format!("a person is asked: {message}"))
            }
            (State::RequiresAction, Ending::HandedOver(name)) => Failure::new(format!("{name} takes over")),
            (State::RequiresAction, _) => self.waiting_calls(),
            _ => return Ok(Flow::Done),
        };
        if !self.is_interactive() {
            let id = &turn.conversation_id;
            let failure = failure.note(format!("Go on in a terminal: causerie chat {id}"));
            return Ok(Flow::Unfinished(match self.answer_in_a_pipe() {
                Some(line) => failure.note(format!("Or here: echo '{line}' | causerie chat {id}")),
                None => failure,
            }));
        }
        if self.ending == Ending::CutOff {
            self.screen.note(&why_cut(turn))?;
        }
        self.show_what_waits()?;
        Ok(Flow::Unfinished(failure))
    }

    /// What the user is to do, at a terminal.
    pub(super) fn show_what_waits(&mut self) -> Result<(), Failure> {
        let now = Timestamp::now();
        for line in self.pending.lines(now) {
            self.screen.print(&line)?;
        }
        for hint in self.pending.hints(now) {
            self.hint(hint)?;
        }
        if !self.pending.is_empty() {
            return Ok(());
        }
        match self.ending.clone() {
            Ending::Whole => Ok(()),
            Ending::CutOff => self.hint("an empty line or /continue goes on with it; or say something else"),
            Ending::HandedOver(name) => {
                self.hint(&format!("an empty line or /continue lets {name} go on; or say something first"))
            }
            Ending::AsksPerson(message) => {
                self.screen.print(&format!("a person is asked: {message}"))?;
                self.hint("the next line answers, as the user; /assistant TEXT answers in the assistant's place")
            }
        }
    }

    fn waiting_calls(&self) -> Failure {
        let text = match self.pending.consent() {
            (false, _) => "the model asks for functions, and a pipe cannot run them",
            (true, true) => "the model asks for what needs a person's consent",
            (true, false) => "the model asks for functions, and for what needs a person's consent",
        };
        self.pending.lines(Timestamp::now()).into_iter().fold(Failure::new(text), Failure::note)
    }

    /// How to go on without a terminal, where that is one line.
    fn answer_in_a_pipe(&self) -> Option<&'static str> {
        match (&self.ending, self.pending.consent()) {
            _ if self.pending.is_over(Timestamp::now()) => Some("/continue"),
            (_, (true, true)) => Some("/approve all"),
            (_, (true, false)) => None,
            (Ending::HandedOver(_) | Ending::CutOff, _) if self.pending.is_empty() => Some("/continue"),
            (Ending::AsksPerson(_), _) => Some("ANSWER"),
            (Ending::Whole | Ending::HandedOver(_) | Ending::CutOff, _) => None,
        }
    }
}

impl Ending {
    fn of(turn: &Turn) -> Ending {
        match turn.state() {
            State::Incomplete => Ending::CutOff,
            State::RequiresAction => turn.outputs.last().map_or(Ending::Whole, Ending::of_handoff),
            _ => Ending::Whole,
        }
    }

    /// How a version ends that waits for the caller, by its last entry.
    pub(super) fn of_handoff(last: &Entry) -> Ending {
        match &last.kind {
            Some(entry::Kind::AgentHandoff(handoff)) => Ending::HandedOver(handoff.next_agent_name.clone()),
            Some(entry::Kind::HumanHandoff(handoff)) => Ending::AsksPerson(handoff.message.clone()),
            _ => Ending::Whole,
        }
    }
}

/// Why a turn is not whole. What the service tells callers to do about it, a person is told as a hint.
fn why_cut(turn: &Turn) -> String {
    let Some(error) = &turn.error else {
        return match turn.finish_reason() {
            FinishReason::Length => "the answer was cut off: max_tokens was reached".into(),
            reason => format!("the answer was cut off: {}", reason.as_str_name()),
        };
    };
    let message = error.message.strip_suffix("a turn without input goes on").unwrap_or(&error.message);
    let message = message.trim_end_matches([' ', ':', ';']);
    let reason = Failure::of_rpc_status(error);
    let stopped = [ErrorReason::TurnLimitExceeded, ErrorReason::ToolFailed, ErrorReason::TurnLost];
    if stopped.iter().any(|stop| reason.reason() == Some(stop.as_str_name())) {
        format!("the turn stopped early: {message}")
    } else {
        format!("the answer was cut off: {message}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt, pb};

    use super::*;
    use crate::proto::{AgentHandoff, HumanHandoff};

    fn cut(reason: &str, message: &str) -> String {
        let details = ErrorDetails::with_error_info(reason, "causerie", HashMap::new());
        let status = tonic::Status::with_error_details(Code::Aborted, message, details);
        let error = pb::Status::decode(status.details()).expect("it was just made");
        why_cut(&Turn { error: Some(error), ..Turn::default() })
    }

    #[test]
    fn why_a_turn_stopped_is_told_without_the_service_s_advice() {
        let limit = "the model asked for tools 8 times and wants more (max_tool_rounds): a turn without input goes on";
        let told = "the turn stopped early: the model asked for tools 8 times and wants more (max_tool_rounds)";
        assert_eq!(cut("TURN_LIMIT_EXCEEDED", limit), told);
        assert_eq!(
            cut("TURN_LOST", "the server stopped; a turn without input goes on"),
            "the turn stopped early: the server stopped"
        );
        assert_eq!(cut("TOOL_FAILED", "the tool x failed"), "the turn stopped early: the tool x failed");
        assert_eq!(cut("UPSTREAM_PROTOCOL_ERROR", "torn"), "the answer was cut off: torn");
        let finish_reason = FinishReason::Length.into();
        let told = why_cut(&Turn { finish_reason, ..Turn::default() });
        assert_eq!(told, "the answer was cut off: max_tokens was reached");
    }

    #[test]
    fn a_turn_that_waits_says_for_whom() {
        let ended = |state: State, kind: entry::Kind| {
            let outputs = vec![Entry { kind: Some(kind), ..Entry::default() }];
            Ending::of(&Turn { state: state.into(), outputs, ..Turn::default() })
        };
        let agent = AgentHandoff { next_agent_name: "billing".into(), ..AgentHandoff::default() };
        let agent = entry::Kind::AgentHandoff(agent);
        let person = entry::Kind::HumanHandoff(HumanHandoff { message: "Refund?".into() });
        assert_eq!(ended(State::RequiresAction, agent.clone()), Ending::HandedOver("billing".into()));
        assert_eq!(ended(State::RequiresAction, person), Ending::AsksPerson("Refund?".into()));
        // Cut off after the handoff: the next agent goes on by itself.
        assert_eq!(ended(State::Incomplete, agent), Ending::CutOff);
    }
}
