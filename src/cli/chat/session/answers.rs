//! What the user says to calls that wait, and in place of a model.

use jiff::Timestamp;

use super::{
    super::{
        pending::needs_consent,
        requests::{self, Said},
    },
    Ending, Flow, Session,
};
use crate::{
    cli::Failure,
    proto::{ErrorReason, PendingCalls},
};

impl Session {
    /// A line that is no command: to the call that is next, else to the model.
    pub(super) async fn say(&mut self, text: String) -> Result<Flow, Failure> {
        match self.pending.next() {
            Some(call) if needs_consent(call) => match self.pending.say(&text) {
                Ok(()) => self.go_on_if_answered().await,
                Err(_) if self.pending.is_over(Timestamp::now()) => self.take_turn(Said::Text(text)).await,
                Err(failure) => Err(failure),
            },
            Some(_) => self.give_result(text).await,
            None => self.take_turn(Said::Text(text)).await,
        }
    }

    pub(super) async fn give_result(&mut self, text: String) -> Result<Flow, Failure> {
        self.pending.give_result(text)?;
        self.go_on_if_answered().await
    }

    /// A turn takes all answers at once.
    pub(super) async fn go_on_if_answered(&mut self) -> Result<Flow, Failure> {
        match self.pending.open_count() {
            0 => self.answer_calls(PendingCalls::Require).await,
            1 => self.hint("one more call waits").map(|()| Flow::Done),
            count => self.hint(&format!("{count} more calls wait")).map(|()| Flow::Done),
        }
    }

    /// Goes on with what was cut off, with the next agent, or with what was said to the calls so far.
    pub(super) async fn go_on(&mut self) -> Result<Flow, Failure> {
        if self.pending.is_empty() {
            return self.take_turn(Said::Nothing).await;
        }
        if !self.pending.has_answers() && !self.can_go_on() {
            return Err(self.unanswered());
        }
        self.answer_calls(PendingCalls::Require).await
    }

    /// Whether a turn without a word of the user makes sense.
    pub(super) fn can_go_on(&self) -> bool {
        match &self.ending {
            _ if !self.pending.is_empty() => self.pending.is_over(Timestamp::now()),
            Ending::CutOff | Ending::HandedOver(_) => self.place.is_none(),
            Ending::Whole | Ending::AsksPerson(_) => false,
        }
    }

    /// The model is told that what nothing was said to is skipped.
    pub(super) async fn skip(&mut self) -> Result<Flow, Failure> {
        if self.pending.is_empty() {
            return Err(Failure::new("no call waits"));
        }
        self.answer_calls(PendingCalls::Skip).await
    }

    /// The answer of a person who was asked, in place of the model's.
    pub(super) async fn answer_for_the_assistant(&mut self, text: String) -> Result<Flow, Failure> {
        if !matches!(self.ending, Ending::AsksPerson(_)) || self.place.is_some() {
            return Err(Failure::new("nobody asked for a person here: only then one answers in the assistant's place"));
        }
        self.take_turn(Said::Entries(vec![requests::in_the_assistants_place(text)])).await
    }

    async fn answer_calls(&mut self, others: PendingCalls) -> Result<Flow, Failure> {
        let id = self.existing()?.to_owned();
        let request = requests::answer(&id, self.pending.answers(&self.user), others, &self.settings);
        // If the turn fails, all is asked for again.
        self.pending.forget();
        match self.run(request).await {
            Err(failure) if failure.reason() == Some(ErrorReason::ConfirmationExpired.as_str_name()) => {
                Err(self.too_late(&failure, &id))
            }
            ended => ended,
        }
    }

    fn too_late(&mut self, failure: &Failure, id: &str) -> Failure {
        let calls = self.pending.came_too_late(failure.detail("tool_call_ids"));
        let told = calls.iter().fold(Failure::new("your consent came too late, and these are not run"), Failure::note);
        let others = match self.pending.open_count() {
            0 => "",
            _ => " Decide on the others anew.",
        };
        match self.is_interactive() {
            true if others.is_empty() => told.note("An empty line or /continue goes on without them."),
            true => told.note(others.trim()),
            false => told.note(format!("Go on without them: echo /continue | causerie chat {id}{others}")),
        }
    }

    fn unanswered(&self) -> Failure {
        let (some, all) = self.pending.consent();
        let with = match (some, all) {
            (_, true) => "decide with /approve and /deny",
            (true, false) => "decide with /approve and /deny, and give results with /result",
            (false, _) => "give results with /result",
        };
        Failure::new(format!("the model waits for its calls: {with}, or go on without them with /skip"))
    }
}
