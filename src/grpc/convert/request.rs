//! The requests that run a turn.

use std::collections::BTreeMap;

use super::{
    agent, background, completion, fingerprint,
    fingerprint::Method,
    forwarding,
    inputs::{self, End},
    path::Path,
    rules, spend, tool, tool_use,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        EntryDraft, Failure, Tool, TurnId,
        request::{Base, Overrides, RequestKey, TurnRequest},
        settings::{CompletionArgs, ToolChoice},
    },
    proto::{self, restart_request::Boundary, stream_events_request::Request},
};

/// What StreamEvents is asked.
#[derive(Debug, Clone)]
pub struct StreamEvents {
    /// What to run or to watch.
    pub watched: Watched,
    /// Which events.
    pub view: View,
}

/// What a stream shows.
#[derive(Debug, Clone)]
pub enum Watched {
    /// A new turn.
    Run(Box<TurnRequest>),
    /// A turn that exists.
    Resume {
        /// The turn.
        turn_id: TurnId,
        /// Go on after this sequence.
        after_sequence: u64,
    },
}

/// Which events a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All of them.
    Full,
    /// All but the deltas.
    Lifecycle,
}

/// Start. Fields are told with `prefix` before them: `""`, or `"start"` within StreamEvents.
pub fn start(prefix: &str, mut request: proto::StartRequest) -> Result<TurnRequest, Failure> {
    let request_id = std::mem::take(&mut request.request_id);
    let fingerprint = fingerprint_of(&request_id, Method::Start, &request);
    let proto::StartRequest {
        model,
        agent_id,
        input,
        inputs,
        instructions,
        tools,
        completion_args,
        metadata,
        store,
        skip_completion,
        request_id: _,
        forwarding,
        tree_budget,
        agent_version,
        handoff_execution,
        max_tool_rounds,
        background,
        background_options,
        callback_url,
        expiration,
    } = request;
    let tool_use = tool_use::Fields { handoff_execution, max_tool_rounds, ..tool_use::Fields::default() };
    let outlives = background::Fields { background, background_options, callback_url, concurrency_policy: 0 };
    violations::read(Rules::All, |violations| {
        let at = Path::root(prefix);
        check_lead(&at, &model, &agent_id, violations);
        rules::metadata(&at, &metadata, violations);
        let end = if skip_completion { End::Any } else { End::Answerable };
        let inputs = inputs::read(&at, input, inputs, end, violations);
        if agent_id.is_empty() && !agent_version.is_empty() {
            let at = at.field("agent_version");
            violations.add(&at, format_args!("is of an agent: give `agent_id`, or leave it out"));
        }
        let known = read_known_names(&tools, false, agent_id.is_empty());
        let overrides = Overrides {
            model: read_model(&at, model, violations),
            agent_id: read_agent(&at, agent_id, violations),
            agent_pin: agent::read_pin(&at.field("agent_version"), &agent_version, violations),
            instructions: read_instructions(&at, rules::given(instructions), violations),
            tools: read_tools(&at, tools, false, violations),
            completion_args: read_args(&at, completion_args, known.as_deref(), violations),
            metadata: (!metadata.is_empty()).then_some(metadata),
            tree_budget: tree_budget
                .and_then(|budget| spend::read_budget(&at.field("tree_budget"), budget, violations)),
        };
        let turn = Run { store, skip_completion, request_id, fingerprint, forwarding, tool_use, outlives };
        let kept = store.unwrap_or(true);
        let expiry = background::read_start_expiration(&at, expiration, kept, violations);
        let turn = turn.read(&at, Base::Start, inputs, overrides, violations)?;
        Some(TurnRequest { expiry: expiry?, ..turn })
    })
}

/// Append. `prefix` as in [`start`].
pub fn append(prefix: &str, mut request: proto::AppendRequest) -> Result<TurnRequest, Failure> {
    let request_id = std::mem::take(&mut request.request_id);
    let fingerprint = fingerprint_of(&request_id, Method::Append, &request);
    let proto::AppendRequest {
        conversation_id,
        input,
        inputs,
        model,
        agent_id,
        instructions,
        tools,
        clear_tools,
        completion_args,
        store,
        skip_completion,
        request_id: _,
        require_head,
        forwarding,
        agent_version,
        handoff_execution,
        max_tool_rounds,
        tool_confirmations,
        pending_calls,
        background,
        background_options,
        callback_url,
        concurrency_policy,
    } = request;
    let outlives = background::Fields { background, background_options, callback_url, concurrency_policy };
    let changes = Changes { model, agent_id, agent_version, instructions, tools, clear_tools, completion_args };
    let tool_use = tool_use::Fields { handoff_execution, max_tool_rounds, tool_confirmations, pending_calls };
    violations::read(Rules::All, |violations| {
        let at = Path::root(prefix);
        let base = rules::conversation_id(&at.field("conversation_id"), &conversation_id, violations);
        background::check_head(&at, require_head, concurrency_policy, violations);
        let base = base.map(|conversation_id| Base::Append { conversation_id, require_head });
        let inputs = inputs::read(&at, input, inputs, End::Any, violations);
        let overrides = changes.read(&at, violations);
        let turn = Run { store, skip_completion, request_id, fingerprint, forwarding, tool_use, outlives };
        turn.read(&at, base, inputs, overrides, violations)
    })
}

/// Restart. `prefix` as in [`start`].
pub fn restart(prefix: &str, mut request: proto::RestartRequest) -> Result<TurnRequest, Failure> {
    let request_id = std::mem::take(&mut request.request_id);
    let fingerprint = fingerprint_of(&request_id, Method::Restart, &request);
    let proto::RestartRequest {
        conversation_id,
        from_entry_id,
        boundary,
        input,
        inputs,
        model,
        agent_id,
        instructions,
        tools,
        clear_tools,
        completion_args,
        store,
        skip_completion,
        request_id: _,
        forwarding,
        agent_version,
        handoff_execution,
        max_tool_rounds,
        pending_calls,
        background,
        background_options,
        callback_url,
        concurrency_policy,
    } = request;
    let outlives = background::Fields { background, background_options, callback_url, concurrency_policy };
    let changes = Changes { model, agent_id, agent_version, instructions, tools, clear_tools, completion_args };
    let tool_confirmations = Vec::new();
    let tool_use = tool_use::Fields { handoff_execution, max_tool_rounds, tool_confirmations, pending_calls };
    violations::read(Rules::All, |violations| {
        let at = Path::root(prefix);
        background::check_restart(&at, concurrency_policy, violations);
        let base = read_restart(&at, &conversation_id, &from_entry_id, boundary, violations);
        let inputs = inputs::read(&at, input, inputs, End::Any, violations);
        let overrides = changes.read(&at, violations);
        let turn = Run { store, skip_completion, request_id, fingerprint, forwarding, tool_use, outlives };
        turn.read(&at, base, inputs, overrides, violations)
    })
}

/// StreamEvents. The turns that it runs are the same as those of the unary methods, their fingerprints too.
pub fn stream_events(request: proto::StreamEventsRequest) -> Result<StreamEvents, Failure> {
    let proto::StreamEventsRequest { view, request } = request;
    let view = violations::read(Rules::All, |violations| read_view(view, violations));
    let watched = match request {
        Some(Request::Start(request)) => start("start", request).map(run),
        Some(Request::Append(request)) => append("append", request).map(run),
        Some(Request::Restart(request)) => restart("restart", request).map(run),
        Some(Request::Resume(request)) => resume(request),
        None => Err(Failure::invalid_field("request", "must be exactly one of start, append, restart and resume")),
    };
    match (watched, view) {
        (Ok(watched), Ok(view)) => Ok(StreamEvents { watched, view }),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
        (Err(mut failure), Err(of_view)) => {
            failure.violations.extend(of_view.violations);
            Err(Failure { metadata: failure.metadata, ..Failure::invalid(failure.violations) })
        }
    }
}

fn run(turn: TurnRequest) -> Watched {
    Watched::Run(Box::new(turn))
}

/// What stays the same whatever a turn runs on.
struct Run {
    store: Option<bool>,
    skip_completion: bool,
    request_id: String,
    fingerprint: Option<[u8; 16]>,
    forwarding: Option<proto::Forwarding>,
    tool_use: tool_use::Fields,
    outlives: background::Fields,
}

impl Run {
    fn read(
        self,
        at: &Path<'_>,
        base: impl Into<Option<Base>>,
        inputs: Vec<EntryDraft>,
        overrides: Overrides,
        violations: &mut Violations,
    ) -> Option<TurnRequest> {
        let Run { store, skip_completion, request_id: id, fingerprint, forwarding, tool_use, outlives } = self;
        let store = store.unwrap_or(true);
        if !store && skip_completion {
            let at = at.field("skip_completion");
            violations.add(&at, format_args!("with `store: false` does nothing at all: leave out one of them"));
        }
        if !id.is_empty() {
            rules::request_id(&at.field("request_id"), &id, violations);
        }
        let forwarding = forwarding::read(at, forwarding, violations);
        let tool_use = tool_use.read(at, violations);
        let outlives = outlives.read(at, store, violations);
        let request = fingerprint.map(|fingerprint| RequestKey { id, fingerprint });
        let outlives = outlives?;
        Some(TurnRequest {
            base: base.into()?,
            concurrency: outlives.concurrency,
            background: outlives.background,
            callback_url: outlives.callback_url,
            expiry: None,
            inputs,
            overrides,
            store,
            skip_completion,
            request,
            forwarding: forwarding?,
            tool_use: tool_use?,
        })
    }
}

/// What Append and Restart may change.
struct Changes {
    model: String,
    agent_id: String,
    agent_version: String,
    instructions: Option<String>,
    tools: Vec<proto::Tool>,
    clear_tools: bool,
    completion_args: Option<proto::CompletionArgs>,
}

impl Changes {
    fn read(self, at: &Path<'_>, violations: &mut Violations) -> Overrides {
        let Changes { model, agent_id, agent_version, instructions, tools, clear_tools, completion_args } = self;
        let known = read_known_names(&tools, clear_tools, false);
        Overrides {
            model: read_model(at, model, violations),
            agent_id: read_agent(at, agent_id, violations),
            agent_pin: agent::read_pin(&at.field("agent_version"), &agent_version, violations),
            instructions: read_instructions(at, instructions, violations),
            tools: read_tools(at, tools, clear_tools, violations),
            completion_args: read_args(at, completion_args, known.as_deref(), violations),
            metadata: None::<BTreeMap<String, String>>,
            tree_budget: None,
        }
    }
}

fn fingerprint_of(request_id: &str, method: Method, request: &impl prost::Message) -> Option<[u8; 16]> {
    (!request_id.is_empty()).then(|| fingerprint::of(method, request))
}

/// Exactly one of model and agent leads a new conversation.
fn check_lead(at: &Path<'_>, model: &str, agent_id: &str, violations: &mut Violations) {
    match (model.is_empty(), agent_id.is_empty()) {
        (true, true) => {
            violations.add(&at.field("model"), format_args!("is required: name a model, or give `agent_id`"))
        }
        (false, false) => {
            violations.add(
                &at.field("agent_id"),
                format_args!("must be left out when `model` is given: an agent has its own"),
            );
        }
        (true, false) | (false, true) => {}
    }
}

fn read_restart(
    at: &Path<'_>,
    conversation_id: &str,
    from_entry_id: &str,
    boundary: i32,
    violations: &mut Violations,
) -> Option<Base> {
    let conversation_id = rules::conversation_id(&at.field("conversation_id"), conversation_id, violations);
    let from_entry_id = rules::entry_id(&at.field("from_entry_id"), from_entry_id, violations);
    let keep_entry = match Boundary::try_from(boundary) {
        Ok(Boundary::Unspecified | Boundary::AfterEntry) => Some(true),
        Ok(Boundary::BeforeEntry) => Some(false),
        Err(_) => {
            rules::unknown_number(&at.field("boundary"), boundary, violations);
            None
        }
    };
    Some(Base::Restart { conversation_id: conversation_id?, from_entry_id: from_entry_id?, keep_entry: keep_entry? })
}

fn read_model(at: &Path<'_>, model: String, violations: &mut Violations) -> Option<String> {
    let model = rules::given(model)?;
    rules::model(&at.field("model"), &model, violations);
    Some(model)
}

fn read_agent(at: &Path<'_>, agent_id: String, violations: &mut Violations) -> Option<String> {
    let agent_id = rules::given(agent_id)?;
    rules::agent_id(&at.field("agent_id"), &agent_id, violations);
    Some(agent_id)
}

fn read_instructions(at: &Path<'_>, text: Option<String>, violations: &mut Violations) -> Option<String> {
    let text = text?;
    rules::instructions(&at.field("instructions"), &text, violations);
    Some(text)
}

fn read_tools(at: &Path<'_>, tools: Vec<proto::Tool>, clear: bool, violations: &mut Violations) -> Option<Vec<Tool>> {
    if clear && !tools.is_empty() {
        let at = at.field("clear_tools");
        violations.add(&at, format_args!("must be left out when `tools` is given, which has {}", tools.len()));
    }
    let given = clear || !tools.is_empty();
    let tools = tool::read_all(at, tools, violations);
    given.then_some(tools)
}

/// The names of the functions, where the request says what they all are; `None` where the version or the agent says it.
fn read_known_names(tools: &[proto::Tool], clear: bool, complete: bool) -> Option<Vec<String>> {
    let known = complete || clear || !tools.is_empty();
    let functions = tools.iter().filter_map(|tool| tool.kind.as_ref());
    // A server's tools are known only when it is asked.
    let known = known && !tools.iter().any(|tool| matches!(tool.kind, Some(proto::tool::Kind::Mcp(_))));
    let names = functions.filter_map(|kind| match kind {
        proto::tool::Kind::Function(function) => Some(function.name.clone()),
        proto::tool::Kind::HttpRequest(request) => Some(request.name.clone()),
        _ => None,
    });
    known.then(|| names.collect())
}

fn read_args(
    at: &Path<'_>,
    args: Option<proto::CompletionArgs>,
    known: Option<&[String]>,
    violations: &mut Violations,
) -> Option<CompletionArgs> {
    let at = at.field("completion_args");
    let args = completion::read(&at, args?, violations)?;
    if let (Some(ToolChoice::Function(name)), Some(known)) = (&args.tool_choice, known)
        && !known.contains(name)
    {
        let at = at.field("tool_choice");
        violations
            .add(&at.field("function_name"), format_args!("must be one of the {} tools of this request", known.len()));
    }
    Some(args)
}

fn read_view(number: i32, violations: &mut Violations) -> Option<View> {
    match proto::EventView::try_from(number) {
        Ok(proto::EventView::Unspecified | proto::EventView::Full) => Some(View::Full),
        Ok(proto::EventView::Lifecycle) => Some(View::Lifecycle),
        Err(_) => {
            rules::unknown_number(&Path::root("view"), number, violations);
            None
        }
    }
}

fn resume(request: proto::ResumeRequest) -> Result<Watched, Failure> {
    let proto::ResumeRequest { turn_id, after_sequence } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("resume");
        let turn_id = rules::turn_id(&at.field("turn_id"), &turn_id, violations);
        let after = super::number::read(&at.field("after_sequence"), after_sequence, violations);
        Some(Watched::Resume { turn_id: turn_id?, after_sequence: after? })
    })
}
