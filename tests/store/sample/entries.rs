//! Entries of every kind.

use std::sync::Arc;

use causerie::domain::{
    Body, Chunk, Entry, EntryId, Time,
    entry::{
        AgentHandoff, Confirmation, Decision, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
        OutputStatus, Role, Thinking, ToolExecution, Verdict,
    },
};

use super::Maker;

impl Maker {
    pub(in crate::store) fn chunk(&mut self, depth: usize) -> Chunk {
        match self.rng.below(if depth == 0 { 9 } else { 12 }) {
            0 => Chunk::ImageUrl { url: self.text(5), detail: self.text(1) },
            1 => Chunk::DocumentUrl { url: self.text(5), name: self.text(2) },
            2 => Chunk::ToolFile {
                tool: self.name(),
                file_id: self.name(),
                file_name: self.text(2),
                file_type: self.text(1),
            },
            3 => Chunk::ToolReference {
                tool: self.name(),
                title: self.text(3),
                url: self.text(2),
                favicon: self.text(1),
                description: self.text(9),
            },
            4 => Chunk::InputAudio { data: self.text(9) },
            5 => Chunk::File { file_id: self.name() },
            6 => Chunk::Reference { reference_ids: (0..self.rng.below(3)).map(|i| i.to_string()).collect() },
            7 | 8 => Chunk::Text(self.text(60)),
            _ => Chunk::Thinking(Thinking {
                content: (0..self.rng.below(3)).map(|_| self.chunk(depth - 1)).collect(),
                signature: self.text(3),
                closed: self.rng.one_in(2),
                provider: self.text(1),
            }),
        }
    }

    pub(super) fn chunks(&mut self) -> Vec<Chunk> {
        (0..self.rng.below(4)).map(|_| self.chunk(2)).collect()
    }

    /// Any body.
    pub(in crate::store) fn body(&mut self) -> Body {
        let status = *self.rng.pick(&[OutputStatus::Completed, OutputStatus::Incomplete]);
        match self.rng.below(7) {
            0 => Body::MessageInput(MessageInput {
                role: *self.rng.pick(&[Role::System, Role::User, Role::Assistant]),
                content: self.chunks(),
                prefix: self.rng.one_in(2),
            }),
            1 => Body::MessageOutput(MessageOutput { content: self.chunks(), status, segments: vec![] }),
            2 => Body::FunctionCall(FunctionCall {
                tool_call_id: self.name(),
                name: self.name(),
                arguments: self.text(20),
                confirmation: self.confirmation(),
                confirmation_expires_at: self.moment(),
            }),
            3 => Body::FunctionResult(FunctionResult {
                tool_call_id: self.name(),
                content: self.chunks(),
                is_error: self.rng.one_in(2),
                decision: self.decision(),
            }),
            4 => Body::ToolExecution(ToolExecution {
                name: self.name(),
                arguments: self.text(5),
                info: self.text(5),
                result: self.chunks(),
                status,
                error: self.rng.maybe(|_| "it failed".to_owned()),
                tool_call_id: self.rng.maybe(|_| "call-a".to_owned()),
                parallel: self.rng.one_in(2),
                decision: self.decision(),
            }),
            5 => Body::AgentHandoff(AgentHandoff {
                previous_agent_id: self.name(),
                previous_agent_name: self.name(),
                next_agent_id: self.name(),
                next_agent_name: self.name(),
            }),
            _ => Body::HumanHandoff(HumanHandoff { message: self.text(9) }),
        }
    }

    pub(super) fn confirmation(&mut self) -> Option<Confirmation> {
        let confirmations = [Confirmation::Pending, Confirmation::Allowed, Confirmation::Denied];
        self.rng.maybe(|rng| *rng.pick(&confirmations))
    }

    pub(super) fn decision(&mut self) -> Option<Decision> {
        let verdict = *self.rng.pick(&[Verdict::Allowed, Verdict::Denied, Verdict::Expired, Verdict::Skipped]);
        let (reason, decided_by, decided_at) = (self.text(3), self.text(1), self.time());
        self.rng.maybe(|_| Decision { verdict, reason, decided_by, decided_at })
    }

    /// Any time at all, or none.
    pub(super) fn moment(&mut self) -> Option<Time> {
        self.rng.maybe(|rng| Time { unix_us: rng.next() as i64 })
    }

    /// An entry with this body.
    pub(in crate::store) fn entry(&mut self, body: Body) -> Arc<Entry> {
        Arc::new(Entry {
            id: EntryId { kind: body.kind(), uuid: self.uuid() },
            created_at: self.time(),
            completed_at: self.moment(),
            model: self.rng.maybe(|_| "mistral-small-latest".to_owned()),
            agent_id: self.rng.maybe(|_| "agent_1".to_owned()),
            body,
        })
    }

    /// A user message.
    pub(in crate::store) fn user(&mut self, words: usize) -> Arc<Entry> {
        let content = vec![Chunk::Text(self.text(words))];
        self.entry(Body::MessageInput(MessageInput { role: Role::User, content, prefix: false }))
    }
}
