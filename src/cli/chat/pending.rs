//! The calls that wait for the user: for what a function returned, or for consent to a tool that the service runs.

use jiff::{SignedDuration, Timestamp};

use super::{command::Which, requests, text};
use crate::{
    cli::Failure,
    proto::{ConfirmationStatus, Entry, FunctionCall, ToolConfirmation, tool_confirmation::Confirmation},
};

/// The calls that wait, in the model's order, and what was said to each so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    calls: Vec<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    call: FunctionCall,
    answer: Answer,
}

#[derive(Debug, Clone)]
enum Answer {
    /// Nothing was said yet.
    Open,
    /// What the function returned.
    Result(Box<Entry>),
    /// What the user decided.
    Decided(ToolConfirmation),
    /// The service says that consent came too late: the next turn tells the model so.
    Late,
}

/// What was said to the calls, as a turn takes it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) results: Vec<Entry>,
    pub(super) confirmations: Vec<ToolConfirmation>,
}

impl Pending {
    pub(super) fn new(calls: Vec<FunctionCall>) -> Pending {
        Pending { calls: calls.into_iter().map(|call| Waiting { call, answer: Answer::Open }).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The first call that nothing was said to.
    pub(super) fn next(&self) -> Option<&FunctionCall> {
        self.open().next()
    }

    /// How many calls nothing was said to.
    pub(super) fn open_count(&self) -> usize {
        self.open().count()
    }

    pub(super) fn has_answers(&self) -> bool {
        self.calls.iter().any(|waiting| matches!(waiting.answer, Answer::Result(_) | Answer::Decided(_)))
    }

    /// Whether a turn can go on though nothing is said: for every call that is open it is too late.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        !self.is_empty() && self.open().all(|call| until(call).is_some_and(|until| until <= now))
    }

    /// Takes back what was said, but not what came too late.
    pub(super) fn forget(&mut self) {
        for waiting in &mut self.calls {
            if !matches!(waiting.answer, Answer::Late) {
                waiting.answer = Answer::Open;
            }
        }
    }

    /// What the first function returned whose result is open.
    pub(super) fn give_result(&mut self, text: String) -> Result<(), Failure> {
        let is_asked = |waiting: &&mut Waiting| waiting.is_open() && !needs_consent(&waiting.call);
        let Some(waiting) = self.calls.iter_mut().find(is_asked) else {
            return Err(Failure::new("the model waits for no function's result"));
        };
        waiting.answer = Answer::Result(Box::new(requests::result(&waiting.call.tool_call_id, text)));
        Ok(())
    }

    /// The user agrees; with other arguments, if some are given.
    pub(super) fn approve(&mut self, which: &Which, arguments: Option<&str>) -> Result<(), Failure> {
        let chosen = self.chosen(which)?;
        if arguments.is_some() && chosen.len() > 1 {
            return Err(Failure::new("other arguments are for one call: say its number alone"));
        }
        let arguments = arguments.unwrap_or_default();
        self.decide(&chosen, Confirmation::Allow, |given| given.arguments = arguments.to_owned());
        Ok(())
    }

    /// The user does not agree.
    pub(super) fn deny(&mut self, which: &Which, reason: &str) -> Result<(), Failure> {
        let chosen = self.chosen(which)?;
        self.decide(&chosen, Confirmation::Deny, |given| given.reason = reason.to_owned());
        Ok(())
    }

    /// A line typed where the next call's consent is asked for. Nothing but a plain yes or no will do: what runs because a
    /// word was misread is not undone.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        match text.trim().to_lowercase().as_str() {
            "y" | "yes" => self.decide(&self.first_open(), Confirmation::Allow, |_| {}),
            "n" | "no" => self.decide(&self.first_open(), Confirmation::Deny, |_| {}),
            _ => {
                return Err(Failure::new("this call needs your consent first: y or n").note(
                    "/approve and /deny take numbers, other arguments and reasons; /skip goes on without the call.",
                ));
            }
        }
        Ok(())
    }

    /// The service says that consent to these came too late. Gives them as a person reads them.
    pub(super) fn came_too_late(&mut self, tool_call_ids: &str) -> Vec<String> {
        let ids: Vec<&str> = tool_call_ids.split(',').collect();
        let late = self.calls.iter_mut().filter(|waiting| ids.contains(&waiting.call.tool_call_id.as_str()));
        let told = late.map(|waiting| {
            waiting.answer = Answer::Late;
            text::call(&waiting.call)
        });
        told.collect()
    }

    /// What was said so far.
    pub(super) fn answers(&self, decided_by: &str) -> Answers {
        let mut answers = Answers::default();
        for waiting in &self.calls {
            match &waiting.answer {
                Answer::Result(result) => answers.results.push((**result).clone()),
                Answer::Decided(given) => {
                    answers.confirmations.push(ToolConfirmation { decided_by: decided_by.to_owned(), ..given.clone() });
                }
                Answer::Open | Answer::Late => {}
            }
        }
        answers
    }

    /// A line for each call. Those that need consent are shown whole, and numbered.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<String> {
        let mut number = 0;
        let lines = self.calls.iter().map(|waiting| {
            let call = text::whole_call(&waiting.call);
            if !needs_consent(&waiting.call) {
                return format!("→ {call}");
            }
            number += 1;
            match until(&waiting.call) {
                None => format!("{number}  {call} needs your consent"),
                Some(until) if until <= now => {
                    format!("{number}  {call} needed your consent until {}", clock(until, now))
                }
                Some(until) => format!("{number}  {call} needs your consent until {}", clock(until, now)),
            }
        });
        lines.collect()
    }

    /// What to do about the calls.
    pub(super) fn hints(&self, now: Timestamp) -> Vec<&'static str> {
        if self.is_over(now) {
            return vec!["nobody agreed in time: an empty line or /continue goes on without it, and so does a message"];
        }
        let mut hints = Vec::new();
        if self.calls.iter().any(|waiting| needs_consent(&waiting.call)) {
            hints.push(
                "y runs it and n does not; or /approve and /deny with numbers or `all`; /skip goes on without it",
            );
        }
        if self.calls.iter().any(|waiting| !needs_consent(&waiting.call)) {
            hints.push("the model waits for what these return: type it, one after the other");
        }
        hints
    }

    /// Whether any of the calls, and whether all of them, need consent.
    pub(super) fn consent(&self) -> (bool, bool) {
        let needs = |waiting: &Waiting| needs_consent(&waiting.call);
        (self.calls.iter().any(needs), self.calls.iter().all(needs))
    }

    fn open(&self) -> impl Iterator<Item = &FunctionCall> {
        self.calls.iter().filter(|waiting| waiting.is_open()).map(|waiting| &waiting.call)
    }

    /// Where the calls stand that a selection means.
    fn chosen(&self, which: &Which) -> Result<Vec<usize>, Failure> {
        let consents = || self.calls.iter().enumerate().filter(|(_, waiting)| needs_consent(&waiting.call));
        let open: Vec<usize> = consents().filter(|(_, waiting)| waiting.is_open()).map(|(i, _)| i).collect();
        match which {
            Which::Only | Which::All if open.is_empty() => Err(Failure::new("no call waits for your consent")),
            Which::Only if open.len() > 1 => {
                Err(Failure::new(format!("{} calls wait for your consent: say their numbers, or `all`", open.len())))
            }
            Which::Only | Which::All => Ok(open),
            Which::Numbers(numbers) => numbers.iter().map(|number| self.numbered(*number)).collect(),
        }
    }

    fn numbered(&self, number: usize) -> Result<usize, Failure> {
        let mut consents = self.calls.iter().enumerate().filter(|(_, waiting)| needs_consent(&waiting.call));
        match number.checked_sub(1).and_then(|skipped| consents.nth(skipped)) {
            Some((_, waiting)) if matches!(waiting.answer, Answer::Late) => {
                Err(Failure::new(format!("it is too late for {}", text::call(&waiting.call))))
            }
            Some((i, _)) => Ok(i),
            None => Err(Failure::new(format!("no call {number} waits for your consent"))),
        }
    }

    fn first_open(&self) -> Vec<usize> {
        self.calls.iter().position(Waiting::is_open).into_iter().collect()
    }

    fn decide(&mut self, chosen: &[usize], confirmation: Confirmation, more: impl Fn(&mut ToolConfirmation)) {
        for i in chosen {
            let waiting = &mut self.calls[*i];
            let tool_call_id = waiting.call.tool_call_id.clone();
            let mut given =
                ToolConfirmation { tool_call_id, confirmation: confirmation.into(), ..ToolConfirmation::default() };
            more(&mut given);
            waiting.answer = Answer::Decided(given);
        }
    }
}

impl Waiting {
    fn is_open(&self) -> bool {
        matches!(self.answer, Answer::Open)
    }
}

/// Whether the call waits for consent, and not for a result.
pub(super) fn needs_consent(call: &FunctionCall) -> bool {
    call.confirmation_status() == ConfirmationStatus::Pending
}

fn until(call: &FunctionCall) -> Option<Timestamp> {
    text::time(call.confirmation_expires_at.as_ref()?)
}

/// The time of day; with the day, if it is not within one.
fn clock(time: Timestamp, now: Timestamp) -> String {
    let is_near = time.duration_since(now).abs() < SignedDuration::from_hours(24);
    time.strftime(if is_near { "%H:%M UTC" } else { "%-d %B %Y %H:%M UTC" }).to_string()
}

#[cfg(test)]
mod tests;
