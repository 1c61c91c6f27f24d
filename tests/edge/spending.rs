//! Values of what was spent, may be spent and was left out.

use causerie::domain::{
    Budget, EntryId, ModelUsage, Money, Omission, OmissionKind, Spend, Usage, entry::Segment, ids::EntryKind,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Strategy, any},
    sample::select,
};

fn count() -> impl Strategy<Value = u64> {
    0..=i64::MAX.unsigned_abs()
}

pub(super) fn usage() -> impl Strategy<Value = Usage> {
    let connector_calls = proptest::collection::btree_map("[a-z]{1,5}", count(), 0..3);
    (proptest::array::uniform6(count()), connector_calls, any::<bool>()).prop_map(
        |([prompt, completion, total, cached, reasoning, connector], connector_calls, estimated)| Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: total,
            cached_tokens: cached,
            reasoning_tokens: reasoning,
            connector_tokens: connector,
            connector_calls,
            estimated,
        },
    )
}

fn money() -> impl Strategy<Value = Money> {
    (0..1i64 << 40, 0..1_000_000_000_000i64).prop_map(|(units, picos)| Money::new(units, picos))
}

fn budget() -> impl Strategy<Value = Budget> {
    let both = (1..1u64 << 40, money())
        .prop_map(|(tokens, cost)| Budget { max_tokens: Some(tokens), max_cost: Some(cost + Money::new(0, 1)) });
    (both, 0..3u8).prop_map(|(Budget { max_tokens, max_cost }, which)| Budget {
        max_tokens: max_tokens.filter(|_| which != 0),
        max_cost: max_cost.filter(|_| which != 1),
    })
}

pub(super) fn spend() -> impl Strategy<Value = (Spend, Option<Budget>)> {
    let spend = (usage(), money(), count());
    let spend = spend.prop_map(|(usage, cost, unpriced_turns)| Spend { usage, cost, unpriced_turns });
    (spend, option::of(budget()))
}

pub(super) fn cost() -> impl Strategy<Value = (Option<Money>, Vec<ModelUsage>, Vec<Omission>)> {
    let model = ("[a-z]{1,5}", usage(), option::of(money()), 0..1000u32);
    let model = model.prop_map(|(model, usage, cost, attempts)| ModelUsage { model, usage, cost, attempts });
    let entry_id = || {
        (select(EntryKind::ALL.to_vec()), any::<u128>())
            .prop_map(|(kind, uuid)| EntryId { kind, uuid: uuid::Uuid::from_u128(uuid) })
    };
    let kinds = vec![OmissionKind::Thinking, OmissionKind::References, OmissionKind::OldEntries];
    let omission = (select(kinds), count(), entry_id(), entry_id());
    let omission = omission.prop_map(|(kind, entry_count, first_entry_id, last_entry_id)| Omission {
        kind,
        entry_count,
        first_entry_id,
        last_entry_id,
    });
    (option::of(money()), vec(model, 0..3), vec(omission, 0..3))
}

pub(super) fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let segment =
        (0..1000u32, "[a-z]{1,5}").prop_map(|(first_content_index, model)| Segment { first_content_index, model });
    vec(segment, 0..3)
}
