//! What a turn will do, decided before it runs: everything that can be refused is refused here, and nothing was done yet.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    history::{Ground, History},
    ids,
    models::Target,
    request::{Forwarding, Overrides, TurnRequest},
};
use crate::{
    domain::{
        Entry, Failure, Reason, Settings, Spend, TurnId,
        entry::{Body, EntryDraft},
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
    pub(super) settings: Arc<Settings>,
    /// The calls that wait for results after the inputs.
    pub(super) pending: Vec<String>,
    pub(super) last_entry: Option<crate::domain::EntryId>,
    /// What the model is asked; `None`: it isn't.
    pub(super) question: Option<Question>,
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
}

/// Decides what a turn does on this ground.
pub(super) fn plan(
    request: TurnRequest,
    (ground, target): (Ground, Option<Arc<Target>>),
    terms: Terms,
) -> Result<Plan, Failure> {
    let TurnRequest { base: _, inputs, overrides, store, skip_completion, request: _, forwarding, tool_use: _ } =
        request;
    let pending = sequence::follow(&ground.pending, &inputs)?;
    if !skip_completion {
        sequence::require_none(&pending)?;
        require_question(&ground, &inputs)?;
    }
    let settings = settle(ground.parent.as_ref(), overrides)?;
    let now = ids::now();
    let inputs: Arc<[Arc<Entry>]> =
        inputs.into_iter().map(|draft| Arc::new(draft.into_entry(ids::entry_uuid(), now))).collect();
    check_key(terms.key.is_some(), target.as_deref())?;
    let question = match (ground.history, target) {
        (Some(history), Some(target)) => Some(ask(target, &settings, &history, &inputs, terms.stream)?),
        (_, None) | (None, _) => None,
    };
    Ok(Plan {
        id: terms.id,
        last_entry: inputs.last().map(|entry| entry.id).or(ground.last_entry),
        parent: ground.parent,
        kept: ground.kept,
        inputs,
        settings,
        pending,
        question,
        store,
        require_head: terms.require_head,
        deadline: terms.deadline,
        timeout: terms.timeout,
        forwarding,
        key: terms.key,
        spend: ground.spend,
    })
}

fn ask(
    target: Arc<Target>,
    settings: &Settings,
    history: &History,
    inputs: &[Arc<Entry>],
    stream: bool,
) -> Result<Question, Failure> {
    target.provider.dialect().check_args(&settings.completion_args)?;
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

/// The settings of the new version: the parent's, as one shared value, unless something changes.
fn settle(parent: Option<&Stored>, overrides: Overrides) -> Result<Arc<Settings>, Failure> {
    let Overrides { model, agent_id, agent_pin: _, instructions, tools, completion_args, metadata, tree_budget } =
        overrides;
    if let Some(agent_id) = agent_id {
        return Err(Failure::not_found(Reason::AgentNotFound, "agent", agent_id));
    }
    let inherited = parent.map(|parent| parent.version.settings.clone()).unwrap_or_default();
    let changes =
        model.is_some() || instructions.is_some() || tools.is_some() || completion_args.is_some() || metadata.is_some();
    if !changes {
        return Ok(inherited);
    }
    let mut settings = Arc::unwrap_or_clone(inherited);
    settings.model = model.unwrap_or(settings.model);
    settings.instructions = instructions.unwrap_or(settings.instructions);
    settings.tools = tools.unwrap_or(settings.tools);
    settings.completion_args = completion_args.unwrap_or(settings.completion_args);
    settings.metadata = metadata.unwrap_or(settings.metadata);
    settings.tree_budget = tree_budget.or(settings.tree_budget);
    check_tool_choice(&settings)?;
    Ok(Arc::new(settings))
}

/// A choice that names a function needs that function, wherever the two come from.
fn check_tool_choice(settings: &Settings) -> Result<(), Failure> {
    use crate::domain::{settings::ToolChoice, tool::Tool};
    let Some(ToolChoice::Function(name)) = &settings.completion_args.tool_choice else { return Ok(()) };
    let known = settings.tools.iter().any(|tool| match tool {
        Tool::Function(function) => function.name == *name,
        Tool::HttpRequest(request) => request.name == *name,
        // Which tools a server has is known only when it is asked.
        Tool::Mcp(_) => true,
        Tool::Connector(_) | Tool::HumanHandoff(_) => false,
    });
    if known {
        return Ok(());
    }
    Err(Failure::invalid_field("completion_args.tool_choice.function_name", "must name one of the tools"))
}
