//! What a turn will do, decided before it runs: everything that can be refused is refused here, and nothing was done yet.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    decide::{self, Agreed},
    history::{Ground, History},
    ids,
    lead::Lead,
    models::Target,
};
use crate::{
    domain::{
        Entry, Failure, Reason, Settings, Spend, TurnId,
        entry::{Body, EntryDraft, Role},
        ids::EntryKind,
        request::{Expiry, Forwarding, ToolUse, TurnRequest},
        sequence::{self, Ending},
    },
    store::Stored,
    upstream::{Secret, estimate::weigh},
};

/// A turn that will run.
pub(super) struct Plan {
    pub(super) id: TurnId,
    pub(super) parent: Option<Stored>,
    pub(super) kept: u64,
    pub(super) inputs: Arc<[Arc<Entry>]>,
    /// Who leads it at its beginning.
    pub(super) lead: Lead,
    /// The calls that wait for results or consent after the inputs; those that are run are among them.
    pub(super) pending: Vec<String>,
    /// The calls that are run before a model is asked.
    pub(super) agreed: Vec<Agreed>,
    /// How it deals with tools and agents.
    pub(super) tool_use: ToolUse,
    pub(super) last_entry: Option<crate::domain::EntryId>,
    /// What the model is asked; `None`: it isn't.
    pub(super) question: Option<Question>,
    /// A model is asked, or would be if nothing waited.
    pub(super) asks: bool,
    /// Some calls still wait: what was agreed to is run, and the model is not asked.
    pub(super) waits: bool,
    pub(super) store: bool,
    pub(super) require_head: bool,
    pub(super) deadline: Instant,
    /// It is this longest time of all turns that ends at the deadline, not the caller's patience.
    pub(super) timeout: Option<Duration>,
    /// How the request reaches a model.
    pub(super) forwarding: Forwarding,
    /// The caller's own key.
    pub(super) key: Option<Secret>,
    /// What the turns of the kept history used.
    pub(super) spend: Spend,
    /// Told of its end.
    pub(super) callback_url: Option<String>,
    /// When the tree goes that it begins.
    pub(super) expiry: Option<Expiry>,
}

/// What the model is asked.
pub(super) struct Question {
    /// The history with the turn's inputs.
    pub(super) history: History,
    pub(super) stream: bool,
    /// The turn's own model.
    pub(super) target: Arc<Target>,
}

/// What a request says of how its turn runs.
pub(super) struct Terms {
    pub(super) id: TurnId,
    pub(super) stream: bool,
    pub(super) require_head: bool,
    pub(super) deadline: Instant,
    pub(super) timeout: Option<Duration>,
    pub(super) key: Option<Secret>,
    /// The inputs, if readers were told of them before: those of the request, as entries.
    pub(super) inputs: Option<Arc<[Arc<Entry>]>>,
}

/// Decides what a turn does on this ground.
pub(super) fn plan(
    request: TurnRequest,
    (ground, lead, target): (Ground, Lead, Option<Arc<Target>>),
    terms: Terms,
) -> Result<Plan, Failure> {
    let TurnRequest { inputs, store, skip_completion, forwarding, tool_use, callback_url, expiry, .. } = request;
    let now = ids::now();
    let decide::Decided { answers, agreed } = decide::decide(&ground.waiting, &tool_use, &inputs, now)?;
    check_skipped(skip_completion, &agreed)?;
    let open = without(&ground.pending, &decide::results(&answers));
    let pending = sequence::follow(&open, &inputs)
        .map_err(|failure| told_in_full(failure, &ground, &without(&open, &decide::results(&inputs))))?;
    let inputs: Vec<EntryDraft> = answers.into_iter().chain(inputs).collect();
    let is_agreed = |id: &String| agreed.iter().any(|call| call.tool_call_id == *id);
    let left: Vec<String> = pending.iter().filter(|id| !is_agreed(id)).cloned().collect();
    let waits = !left.is_empty() && !tool_use.confirmations.is_empty();
    if !skip_completion && !left.is_empty() && !waits {
        return Err(decide::missing(&ground.waiting, &left));
    }
    let asks = !skip_completion && !is_a_persons_answer(&ground, &inputs);
    if asks && agreed.is_empty() && !waits {
        require_question(&ground, &inputs)?;
    }
    let inputs: Arc<[Arc<Entry>]> = match terms.inputs {
        Some(told) => told,
        None => inputs.into_iter().map(|draft| Arc::new(draft.into_entry(ids::entry_uuid(), now))).collect(),
    };
    check_key(terms.key.is_some(), target.as_deref())?;
    let question = match (ground.history, target) {
        (Some(history), Some(target)) if asks => Some(ask(target, &lead.settings, &history, &inputs, terms.stream)?),
        (_, _) => None,
    };
    Ok(Plan {
        id: terms.id,
        last_entry: inputs.last().map(|entry| entry.id).or(ground.last_entry),
        parent: ground.parent,
        kept: ground.kept,
        inputs,
        lead,
        pending,
        agreed,
        tool_use,
        question,
        asks,
        waits,
        store,
        require_head: terms.require_head,
        deadline: terms.deadline,
        timeout: terms.timeout,
        forwarding,
        key: terms.key,
        spend: ground.spend,
        callback_url,
        expiry,
    })
}

fn without(pending: &[String], answered: &HashSet<&str>) -> Vec<String> {
    pending.iter().filter(|id| !answered.contains(id.as_str())).cloned().collect()
}

/// Which of the calls that wait are the caller's, and which want a decision.
fn told_in_full(failure: Failure, ground: &Ground, left: &[String]) -> Failure {
    if failure.reason == Reason::ToolResultsMissing && !left.is_empty() {
        decide::missing(&ground.waiting, left)
    } else {
        failure
    }
}

/// Calls are run by a turn that goes on with what came of them.
fn check_skipped(skip_completion: bool, agreed: &[Agreed]) -> Result<(), Failure> {
    if skip_completion && !agreed.is_empty() {
        let text = "must be left out when calls are allowed: the model goes on with what came of them";
        return Err(Failure::invalid_field("skip_completion", text));
    }
    Ok(())
}

/// Whether a person who was asked answers in the assistant's place: there is nothing for a model to add.
fn is_a_persons_answer(ground: &Ground, inputs: &[EntryDraft]) -> bool {
    let asked = ground.last_entry.is_some_and(|last| last.kind == EntryKind::HumanHandoff);
    let answers = |input: &EntryDraft| match &input.body {
        Body::MessageInput(message) => message.role == Role::Assistant && !message.prefix,
        _ => false,
    };
    asked && !inputs.is_empty() && inputs.iter().all(answers)
}

fn ask(
    target: Arc<Target>,
    settings: &Settings,
    history: &History,
    inputs: &[Arc<Entry>],
    stream: bool,
) -> Result<Question, Failure> {
    target.provider.check_settings(settings, Lead::hosted(settings))?;
    let ending = inputs.last().map_or(history.ending, |entry| sequence::ending(Some(&entry.body)));
    let transcript = target.provider.extend(&history.transcript, inputs)?;
    let bytes = history.bytes + weigh(inputs).iter().sum::<u64>();
    Ok(Question { history: History { transcript, ending, bytes }, stream, target })
}

/// A key that would not be used is refused: its owner believes that it is.
fn check_key(is_given: bool, target: Option<&Target>) -> Result<(), Failure> {
    match target {
        Some(target) if is_given && !target.caller_keys => {
            let name = target.provider.name();
            let text = format!("is not taken for {name}: leave it out, or set providers.{name}.caller_keys");
            Err(Failure::invalid_field("x-provider-api-key", text))
        }
        Some(_) | None => Ok(()),
    }
}

/// A model answers questions and results, and continues what is unfinished.
fn require_question(ground: &Ground, inputs: &[EntryDraft]) -> Result<(), Failure> {
    let ending = match inputs.last() {
        Some(last) => sequence::ending(Some(&last.body)),
        None => ground.history.as_ref().map_or(Ending::Answered, |history| history.ending),
    };
    match (ending, inputs.last()) {
        (Ending::Open | Ending::Unfinished, _) => Ok(()),
        (Ending::Answered, Some(last)) => {
            let hint = match &last.body {
                Body::FunctionCall(_) => "the results of its function calls",
                Body::MessageInput(_)
                | Body::MessageOutput(_)
                | Body::FunctionResult(_)
                | Body::ToolExecution(_)
                | Body::AgentHandoff(_)
                | Body::HumanHandoff(_) => "a user message, a function result or an assistant message with `prefix`",
            };
            let field = format!("inputs[{}]", inputs.len() - 1);
            Err(Failure::invalid_field(field, format!("must be followed by {hint}, or set `skip_completion`")))
        }
        (Ending::Answered, None) => {
            let text = "the history ends in an answer: give an input, or restart from an earlier entry";
            Err(Failure::new(Reason::NothingToAnswer, text))
        }
    }
}
