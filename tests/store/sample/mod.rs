//! Values to store: each kind of everything, and turns as they really run.

mod entries;
mod events;
mod requests;
mod settings;

use std::{borrow::Cow, sync::Arc};

use causerie::domain::{
    ConversationId, Entry, EntryId, Failure, FinishReason, ModelUsage, Money, Omission, OmissionKind, Reason, Time,
    Turn, TurnId, TurnState, Usage, Violation,
};
use uuid::Uuid;

use super::random::Rng;

/// Makes values; ids grow with its clock.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) rng: Rng,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Maker {
        Maker { rng: Rng(seed), now_ms: 1_700_000_000_000 }
    }

    /// A UUIDv7 of now; time goes on.
    pub(super) fn uuid(&mut self) -> Uuid {
        self.now_ms += 1;
        self.uuid_at(self.now_ms)
    }

    /// A UUIDv7 of a moment.
    pub(super) fn uuid_at(&mut self, ms: u64) -> Uuid {
        let random = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
        let bits = u128::from(ms) << 80 | 7 << 76 | (random >> 52 & 0xfff) << 64 | 2 << 62 | random & (u128::MAX >> 66);
        Uuid::from_u128(bits)
    }

    pub(super) fn time(&mut self) -> Time {
        Time { unix_us: self.now_ms as i64 * 1000 + self.rng.below(1000) as i64 }
    }

    /// Words, some of them not ASCII.
    pub(super) fn text(&mut self, most_words: usize) -> String {
        const WORDS: [&str; 8] = ["the", "store", "keeps", "größe", "数据", "🙂", "turn\n", ""];
        let count = self.rng.below(most_words + 1);
        (0..count).map(|_| *self.rng.pick(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    fn name(&mut self) -> String {
        format!("name-{}", self.rng.below(1000))
    }

    pub(super) fn failure(&mut self) -> Failure {
        Failure {
            reason: *self.rng.pick(&Reason::ALL),
            message: self.text(9),
            metadata: (0..self.rng.below(3)).map(|i| (Cow::Owned(format!("key{i}")), self.text(2))).collect(),
            violations: (0..self.rng.below(3))
                .map(|i| Violation { field: format!("inputs[{i}]"), description: self.text(3) })
                .collect(),
            retry_after_ms: self.rng.maybe(Rng::next),
            resource: self.rng.maybe(|_| (Cow::Borrowed("turn"), "turn_x".to_owned())),
        }
    }

    /// A turn that made a version (with `outputs`) or none.
    pub(super) fn turn(
        &mut self,
        id: Uuid,
        parent: Option<ConversationId>,
        outputs: Vec<Arc<Entry>>,
        state: TurnState,
    ) -> Turn {
        let made = !matches!(state, TurnState::Failed | TurnState::Cancelled);
        let finishes = [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
            FinishReason::ModelLength,
            FinishReason::Error,
        ];
        let outputs_ids: Vec<_> = outputs.iter().map(|output| output.id).collect();
        let usage = Usage {
            prompt_tokens: self.rng.next() >> 24,
            total_tokens: 7,
            connector_calls: [("web".to_owned(), 3)].into(),
            ..Usage::default()
        };
        Turn {
            id: TurnId(id),
            state,
            finish_reason: self.rng.maybe(|rng| *rng.pick(&finishes)),
            conversation_id: made.then_some(ConversationId(id)),
            parent_id: parent,
            model: self.text(1),
            agent_id: self.rng.maybe(|_| "agent_a".to_owned()),
            agent_version: self.rng.maybe(|rng| rng.next() as u32),
            outputs,
            usage: if self.rng.one_in(2) { Usage::default() } else { usage },
            cost: self.rng.maybe(|rng| Money::new(rng.below(9) as i64, rng.below(1_000_000) as i64)),
            models: self.models(),
            omissions: self.omissions(&outputs_ids),
            error: if made { None } else { Some(self.failure()) },
            created_at: self.time(),
            completed_at: self.rng.maybe(|rng| Time { unix_us: rng.below(1 << 50) as i64 }),
            last_sequence: self.rng.next(),
            request_id: None,
            background: None,
        }
    }

    fn models(&mut self) -> Vec<ModelUsage> {
        let count = self.rng.below(3) as u32;
        let model = |attempts| ModelUsage {
            model: self.text(1),
            usage: Usage { completion_tokens: 5, estimated: self.rng.one_in(2), ..Usage::default() },
            cost: self.rng.maybe(|rng| Money::new(0, rng.below(1000) as i64)),
            attempts,
        };
        (0..count).map(model).collect()
    }

    fn omissions(&mut self, entries: &[EntryId]) -> Vec<Omission> {
        let kinds = [OmissionKind::Thinking, OmissionKind::References, OmissionKind::OldEntries];
        entries.iter().map(|id| Omission::of(*self.rng.pick(&kinds), *id)).collect()
    }
}
