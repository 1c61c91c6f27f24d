//! Running tools: side by side, each with its events and its entry.

use std::{pin::pin, sync::Arc};

use futures_util::{StreamExt, stream};

use super::{Rounds, size};
use crate::{
    domain::{EntryId, EventKind, Failure, Time, ToolOutcome, event::ToolHead, ids::EntryKind},
    engine::{
        Shared,
        assemble::{Assembler, Held},
        decide::Agreed,
        failures, ids,
        log::Log,
        toolset::{Runner, Toolset},
    },
};

/// A tool to run.
pub(super) struct Job {
    entry_id: EntryId,
    output_index: u32,
    head: Arc<ToolHead>,
    runner: Runner,
}

impl Job {
    /// A call that the model asks for.
    pub(super) fn new(assembler: &mut Assembler, held: Held, parallel: bool) -> Job {
        let Held { name, arguments, runner } = held;
        let head = ToolHead { name, arguments, tool_call_id: None, parallel, decision: None };
        Job::with(assembler, head, runner)
    }

    /// A call that a person agreed to.
    pub(super) fn agreed(assembler: &mut Assembler, call: Agreed, tools: &Toolset) -> Job {
        let Agreed { tool_call_id, name, arguments, decision } = call;
        let runner = tools.runner(&name);
        let (tool_call_id, decision) = (Some(tool_call_id), Some(decision));
        Job::with(assembler, ToolHead { name, arguments, tool_call_id, parallel: false, decision }, runner)
    }

    fn with(assembler: &mut Assembler, head: ToolHead, runner: Runner) -> Job {
        let entry_id = EntryId { kind: EntryKind::ToolExecution, uuid: ids::entry_uuid() };
        Job { entry_id, output_index: assembler.next_output(), head: Arc::new(head), runner }
    }
}

impl Rounds<'_> {
    /// Runs all of them, at most so many at once as are allowed. Entries stand in the order of the jobs, whatever ends first.
    pub(super) async fn run(&mut self, jobs: Vec<Job>) -> Result<(), Failure> {
        if jobs.is_empty() {
            return Ok(());
        }
        let author = self.progress.assembler.author().clone();
        for job in &jobs {
            let Job { entry_id, output_index, head, runner: _ } = job;
            let (run, author) = (head.clone(), author.clone());
            self.push(EventKind::ToolExecutionStarted {
                entry_id: *entry_id,
                output_index: *output_index,
                run,
                author,
            });
        }
        self.journal(ids::now(), &[]).await?;
        let (shared, log) = (self.shared, &self.live.log);
        let at_once = shared.options.max_parallel_tools.max(1);
        let runs = jobs.into_iter().map(|job| call(shared, log, job));
        // What has ended at the same time is written together.
        let mut runs = pin!(stream::iter(runs).buffer_unordered(at_once).ready_chunks(at_once));
        let mut fatal = None;
        while let Some(ended) = runs.next().await {
            let now = ids::now();
            let mut told = Vec::with_capacity(2 * ended.len());
            for (job, outcome) in ended {
                if outcome.error.is_some() && job.runner.is_required() {
                    fatal.get_or_insert_with(|| failures::tool_failed(&job.head.name));
                }
                told.extend(self.done(job, outcome, now));
            }
            // On disk before anybody is told. Nothing else is logged meanwhile: the other tools wait, too.
            self.journal(now, &told).await?;
            self.live.log.push(now, told);
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Ends the runs of tools that a crash cut off. Whether they did anything is not known: the model is told so, and they are
    /// not run again.
    pub(super) async fn end_interrupted(&mut self) -> Result<(), Failure> {
        let now = ids::now();
        let mut ended = Vec::new();
        let indexes = self.progress.outputs.so_far().map(|entry| entry.id).zip(0..).collect::<Vec<_>>();
        for (entry_id, name) in self.progress.outputs.open_runs() {
            let found = indexes.iter().find(|(id, _)| *id == entry_id);
            let output_index = found.map(|(_, index)| *index).unwrap_or_default();
            let error = Some("the server went down while it ran; what it has done is not known".to_owned());
            let (name, result, info) = (name.as_str().into(), Vec::new(), String::new());
            let event = EventKind::ToolExecutionDone { entry_id, output_index, name, result, info, error };
            ended.extend(self.taken(event, now));
        }
        if !ended.is_empty() {
            self.journal(now, &ended).await?;
            self.live.log.push(now, ended);
        }
        Ok(())
    }

    /// Takes what came of a call into the outputs; what is to be told of it.
    fn done(&mut self, job: Job, outcome: ToolOutcome, now: Time) -> Vec<EventKind> {
        let Job { entry_id, output_index, head, runner: _ } = job;
        let room = size::TURN_BYTES.saturating_sub(self.progress.outputs.size_bytes());
        let ToolOutcome { content, info, error } = size::fit(outcome, room);
        tracing::debug!(tool = head.name, failed = error.is_some(), "a tool has run");
        let name = head.name.as_str().into();
        let event = EventKind::ToolExecutionDone { entry_id, output_index, name, result: content, info, error };
        self.taken(event, now)
    }

    /// Tells readers of an event and of the entry that ends with it, and takes it into the outputs.
    pub(super) fn push(&mut self, event: EventKind) {
        let now = ids::now();
        let told = self.taken(event, now);
        self.live.log.push(now, told);
    }

    fn taken(&mut self, event: EventKind, now: Time) -> Vec<EventKind> {
        self.progress.outputs.apply(&event, now);
        let ended = self.progress.outputs.ended_by(&event).map(|entry| EventKind::EntryDone { entry: entry.clone() });
        [event].into_iter().chain(ended).collect()
    }
}

async fn call(shared: &Shared, log: &Log, job: Job) -> (Job, ToolOutcome) {
    let ToolHead { name, arguments, .. } = &*job.head;
    let outcome = match &job.runner {
        Runner::Http { request, .. } => shared.tools.http.call(request, arguments).await,
        Runner::Mcp { server, tool, .. } => {
            let report = |message| {
                let (entry_id, output_index) = (job.entry_id, job.output_index);
                let (name, arguments) = (name.as_str().into(), String::new());
                let event = EventKind::ToolExecutionDelta { entry_id, output_index, name, message, arguments };
                log.push(ids::now(), [event]);
            };
            shared.tools.mcp.call(server, tool, arguments, report).await
        }
        Runner::Nobody(why) => ToolOutcome::failed(&**why),
        // A person agreed to a call of a tool that is the caller's by now, or none.
        Runner::Caller | Runner::ToAgent | Runner::ToHuman => {
            ToolOutcome::failed(format!("the service does not run {name} any more"))
        }
    };
    (job, outcome)
}
