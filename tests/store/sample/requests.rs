//! Requests of every kind, and turns that outlive their calls.

use causerie::domain::{
    BatchId, ConversationId, EntryDraft, EntryId, Event, EventKind, Job, JobState, Settings, Time, TurnId,
    agent::AgentPin,
    ids::EntryKind,
    request::{
        Background, Base, Concurrency, Expiry, Fallback, Forwarding, Overrides, RequestKey, ToolConfirmation, ToolUse,
        Truncation, TurnRequest,
    },
};

use super::{super::random::Rng, Maker};

impl Maker {
    /// Any request, on this version or on none.
    pub(in crate::store) fn request_on(&mut self, parent: Option<ConversationId>) -> TurnRequest {
        let base = match parent {
            None => Base::Start,
            Some(conversation_id) if self.rng.one_in(2) => {
                Base::Append { conversation_id, require_head: self.rng.one_in(2) }
            }
            Some(conversation_id) => {
                let from_entry_id = EntryId { kind: *self.rng.pick(&EntryKind::ALL), uuid: self.uuid() };
                Base::Restart { conversation_id, from_entry_id, keep_entry: self.rng.one_in(2) }
            }
        };
        TurnRequest {
            base,
            inputs: (0..self.rng.below(3)).map(|_| self.draft()).collect(),
            overrides: self.overrides(),
            store: self.rng.one_in(2),
            skip_completion: self.rng.one_in(2),
            request: self.key(),
            forwarding: self.forwarding(),
            tool_use: self.tool_use(),
            concurrency: *self.rng.pick(&Concurrency::ALL),
            background: self.background(),
            callback_url: self.rng.maybe(|_| "https://example.com/told?x=1".to_owned()),
            expiry: self.expiry(),
        }
    }

    /// A job that was just accepted, in a tree.
    pub(in crate::store) fn job(&mut self, parent: Option<(ConversationId, ConversationId)>) -> Job {
        let turn_id = TurnId(self.uuid());
        let state = JobState { not_before: self.moment(), after: self.any_turn(), ..JobState::default() };
        Job {
            turn_id,
            request: self.request_on(parent.map(|(id, _)| id)),
            root: parent.map_or(turn_id.conversation(), |(_, root)| root),
            created_at: self.time(),
            batch: self.any_turn().map(|id| (BatchId(id.0), 7)),
            state,
        }
    }

    /// An event that only a turn has which outlives its call, or whose conversation is contended.
    pub(super) fn event_of_a_job(&mut self) -> EventKind {
        match self.rng.below(4) {
            0 => EventKind::TurnQueued {
                conversation_id: ConversationId(self.uuid()),
                not_before: self.moment(),
                after: self.any_turn(),
            },
            1 => EventKind::TurnResumed { attempt: self.rng.next() as u32, kept_outputs: self.rng.below(3) as u32 },
            2 => EventKind::TurnRequeued {
                attempt: self.rng.below(9) as u32,
                not_before: self.time(),
                failure: self.failure().into(),
            },
            _ => EventKind::TurnConflict {
                other: TurnId(self.uuid()),
                policy: *self.rng.pick(&Concurrency::ALL),
                newcomer: self.rng.one_in(2),
            },
        }
    }

    /// The next events of a log of which so many were written.
    pub(in crate::store) fn next_events(&mut self, written: usize) -> Vec<Event> {
        let count = 1 + self.rng.below(4);
        let mut events: Vec<_> = (0..count).map(|_| self.any_event(&[])).collect();
        for (event, sequence) in events.iter_mut().zip(written as u64 + 1..) {
            (event.first_sequence, event.sequence) = (sequence, sequence);
        }
        events
    }

    fn any_turn(&mut self) -> Option<TurnId> {
        let id = TurnId(self.uuid());
        self.rng.maybe(|_| id)
    }

    fn draft(&mut self) -> EntryDraft {
        EntryDraft {
            created_at: self.moment(),
            completed_at: self.moment(),
            model: self.rng.maybe(|_| "small".to_owned()),
            agent_id: self.rng.maybe(|_| "agent_a".to_owned()),
            body: self.body(),
        }
    }

    fn overrides(&mut self) -> Overrides {
        let Settings { model, agent_id, instructions, tools, completion_args, metadata, tree_budget, agent_pin: _ } =
            self.settings();
        let pins = [AgentPin::Version(3), AgentPin::Alias("live".into())];
        let rng = &mut self.rng;
        Overrides {
            model: rng.maybe(|_| model),
            agent_id,
            agent_pin: rng.maybe(|rng| rng.pick(&pins).clone()),
            instructions: rng.maybe(|_| instructions),
            // None given, and given that there are none.
            tools: rng.maybe(|rng| if rng.one_in(2) { Vec::new() } else { tools }),
            completion_args: rng.maybe(|_| completion_args),
            metadata: rng.maybe(|_| metadata),
            tree_budget,
        }
    }

    fn key(&mut self) -> Option<RequestKey> {
        let id = format!("job {}", self.uuid());
        self.rng.maybe(|rng| RequestKey { id, fingerprint: u128::from(rng.next()).to_be_bytes() })
    }

    fn forwarding(&mut self) -> Forwarding {
        let fallbacks = [Fallback::Configured, Fallback::Never, Fallback::Models(vec!["a".into(), String::new()])];
        Forwarding {
            fallback: self.rng.pick(&fallbacks).clone(),
            continue_on_other_model: self.rng.one_in(2),
            truncation: *self.rng.pick(&[Truncation::Off, Truncation::DropOldest]),
            budget: self.settings().tree_budget,
        }
    }

    fn tool_use(&mut self) -> ToolUse {
        let confirmation = ToolConfirmation {
            tool_call_id: self.name(),
            allowed: self.rng.one_in(2),
            reason: self.text(2),
            arguments: self.rng.maybe(|_| "{}".to_owned()),
            decided_by: self.text(1),
        };
        ToolUse {
            handoff_to_caller: self.rng.one_in(2),
            max_rounds: self.rng.maybe(|rng| rng.below(9) as u32),
            confirmations: vec![confirmation; self.rng.below(3)],
            skip_pending: self.rng.one_in(2),
        }
    }

    fn background(&mut self) -> Option<Background> {
        let background = Background {
            not_before: self.moment(),
            priority: self.rng.below(201) as i32 - 100,
            max_attempts: self.rng.maybe(|rng| rng.below(9) as u32),
            waits: false,
            fairness_key: self.text(1),
        };
        self.rng.maybe(|_| background)
    }

    fn expiry(&mut self) -> Option<Expiry> {
        let choices = [Expiry::At(Time { unix_us: -5 }), Expiry::At(self.time()), Expiry::After { ms: u64::MAX }];
        self.rng.maybe(|rng: &mut Rng| *rng.pick(&choices))
    }
}
