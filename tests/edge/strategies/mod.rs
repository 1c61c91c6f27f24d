//! Arbitrary domain values: everything that a store can hold, and inputs that keep to the rules.

mod entries;
mod events;
mod settings;
mod tools;
mod turns;

use causerie::domain::{ConversationId, Failure, Reason, Time, Violation};
use proptest::{collection::vec, option, prelude::*, sample::select};
use uuid::Uuid;

pub(crate) use self::{
    entries::{entry, input},
    events::event,
    settings::version,
    turns::{turn, turn_with_inputs},
};

fn text() -> impl Strategy<Value = String> {
    "[a-zé€ \"\\n]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,12}"
}

fn url() -> impl Strategy<Value = String> {
    prop_oneof!["https://[a-z]{1,8}/[a-z]{0,4}", "data:text/plain,[a-z]{0,8}"]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid::from_bytes)
}

fn conversation_id() -> impl Strategy<Value = ConversationId> {
    uuid().prop_map(ConversationId)
}

fn time() -> impl Strategy<Value = Time> {
    (-60_000_000_000_000_000i64..250_000_000_000_000_000).prop_map(|unix_us| Time { unix_us })
}

fn count() -> impl Strategy<Value = u64> {
    0..=u64::try_from(i64::MAX).expect("positive")
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    let metadata = prop::collection::btree_map(name(), text(), 0..4);
    let violation = (text(), text()).prop_map(|(field, description)| Violation { field, description });
    let parts = (
        select(Reason::ALL.to_vec()),
        text(),
        metadata,
        vec(violation, 0..4),
        option::of(any::<u64>()),
        option::of((name(), text())),
    );
    parts.prop_map(|(reason, message, metadata, violations, retry_after_ms, resource)| Failure {
        reason,
        message,
        metadata: metadata.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        violations,
        retry_after_ms,
        resource: resource.map(|(kind, name)| (kind.into(), name)),
    })
}
