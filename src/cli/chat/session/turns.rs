//! Running turns, and what they leave pending.

use std::mem;

use super::{
    super::{
        read,
        requests::{self, Said, Settings},
        spending, text, turn,
    },
    Flow, Session, places,
};
use crate::{
    cli::Failure,
    proto::{Entry, FunctionCall, Turn, entry, stream_events_request::Request, turn::FinishReason, turn::State},
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

    /// Asks for another answer to the newest question or function result.
    pub(super) async fn answer_anew(&mut self) -> Result<Flow, Failure> {
        let id = self.existing()?.to_owned();
        let entries = read::entries(&mut self.client, &id).await?;
        let answered = |entry: &&Entry| {
            text::question(entry).is_some() || matches!(entry.kind, Some(entry::Kind::FunctionResult(_)))
        };
        let Some(last) = entries.iter().rev().find(answered) else {
            return Err(Failure::new("there is no question yet that could be answered again"));
        };
        let place = places::after(last);
        self.run(requests::restart(&id, &place, Said::Nothing, &self.settings)).await
    }

    pub(super) async fn give_result(&mut self, text: String) -> Result<Flow, Failure> {
        let Some(call) = self.calls.get(self.results.len()) else {
            return Err(Failure::new("the model waits for no function's result"));
        };
        self.results.push(requests::result(&call.tool_call_id, text));
        if self.results.len() < self.calls.len() {
            return Ok(Flow::Done);
        }
        // If the turn fails, the results are asked for again.
        let results = mem::take(&mut self.results);
        self.take_turn(Said::Entries(results)).await
    }

    async fn run(&mut self, request: Request) -> Result<Flow, Failure> {
        let turn = turn::run(&mut self.client, &mut self.screen, request).await?;
        if self.version.is_none() {
            self.hint(&format!("this is {}", turn.conversation_id))?;
        }
        self.version = Some(turn.conversation_id.clone());
        self.model.clone_from(&turn.model);
        self.settings = Settings::default();
        self.place = None;
        self.unfinished = turn.state() == State::Incomplete;
        self.wait_for(asked(&turn));
        self.say_what_it_took(&turn).await?;
        self.say_what_is_next(&turn)
    }

    async fn say_what_it_took(&mut self, turn: &Turn) -> Result<(), Failure> {
        for omission in &turn.omissions {
            self.screen.note(&spending::omission(omission))?;
        }
        if !self.is_interactive() {
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

    pub(super) fn wait_for(&mut self, calls: Vec<FunctionCall>) {
        self.calls = calls;
        self.results.clear();
    }

    fn say_what_is_next(&mut self, turn: &Turn) -> Result<Flow, Failure> {
        let failure = match turn.state() {
            State::Incomplete => Failure::new(format!("the answer was cut off: {}", why_cut(turn))),
            State::RequiresAction => waiting(&self.calls),
            _ => return Ok(Flow::Done),
        };
        if !self.is_interactive() {
            return Ok(Flow::Unfinished(
                failure.note(format!("Go on in a terminal: causerie chat {}", turn.conversation_id)),
            ));
        }
        if self.unfinished {
            self.screen.note(&format!("the answer was cut off: {}", why_cut(turn)))?;
            self.screen.note("an empty line or /continue goes on with it; or say something else")?;
        }
        self.show_calls()?;
        Ok(Flow::Unfinished(failure))
    }

    pub(super) fn show_calls(&mut self) -> Result<(), Failure> {
        for call in &self.calls {
            self.screen.print(&format!("→ {}", text::call(call)))?;
        }
        if !self.calls.is_empty() {
            self.hint("the model waits for what these return: type it, one after the other")?;
        }
        Ok(())
    }
}

fn asked(turn: &Turn) -> Vec<FunctionCall> {
    if turn.state() != State::RequiresAction {
        return Vec::new();
    }
    let calls = turn.outputs.iter().filter_map(|entry| match &entry.kind {
        Some(entry::Kind::FunctionCall(call)) => Some(call.clone()),
        _ => None,
    });
    calls.collect()
}

fn waiting(calls: &[FunctionCall]) -> Failure {
    let failure = Failure::new("the model asks for functions, and a pipe cannot run them");
    calls.iter().fold(failure, |failure, call| failure.note(text::call(call)))
}

fn why_cut(turn: &Turn) -> String {
    match (&turn.error, turn.finish_reason()) {
        (Some(error), _) => error.message.clone(),
        (None, FinishReason::Length) => "max_tokens was reached".into(),
        (None, reason) => reason.as_str_name().to_owned(),
    }
}
