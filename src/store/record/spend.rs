//! What was used, what it cost, what may be spent and what was left out, on disk.

use std::collections::BTreeMap;

use prost::Message;

use super::{Damaged, decode, encode, entry_id, entry_id_bytes};
use crate::{
    domain::{Budget, ModelUsage, Money, Omission, OmissionKind, Spend, Usage},
    store::Spent,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct UsageRecord {
    #[prost(uint64, tag = "1")]
    prompt_tokens: u64,
    #[prost(uint64, tag = "2")]
    completion_tokens: u64,
    #[prost(uint64, tag = "3")]
    total_tokens: u64,
    #[prost(uint64, tag = "4")]
    cached_tokens: u64,
    #[prost(uint64, tag = "5")]
    reasoning_tokens: u64,
    #[prost(uint64, tag = "6")]
    connector_tokens: u64,
    #[prost(btree_map = "string, uint64", tag = "7")]
    connector_calls: BTreeMap<String, u64>,
    #[prost(bool, tag = "8")]
    estimated: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct MoneyRecord {
    #[prost(sint64, tag = "1")]
    units: i64,
    /// 10⁻¹² of a unit.
    #[prost(sint64, tag = "2")]
    picos: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelUsageRecord {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(message, optional, tag = "2")]
    usage: Option<UsageRecord>,
    #[prost(message, optional, tag = "3")]
    cost: Option<MoneyRecord>,
    #[prost(uint32, tag = "4")]
    attempts: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SpendRecord {
    #[prost(message, optional, tag = "1")]
    usage: Option<UsageRecord>,
    #[prost(message, optional, tag = "2")]
    cost: Option<MoneyRecord>,
    #[prost(uint64, tag = "3")]
    unpriced_turns: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BudgetRecord {
    #[prost(uint64, optional, tag = "1")]
    max_tokens: Option<u64>,
    #[prost(message, optional, tag = "2")]
    max_cost: Option<MoneyRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OmissionRecord {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    entry_count: u64,
    #[prost(bytes = "vec", tag = "3")]
    first_entry_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    last_entry_id: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ChargeRecord {
    #[prost(uint64, tag = "1")]
    tokens: u64,
    #[prost(message, optional, tag = "2")]
    cost: Option<MoneyRecord>,
    /// Set aside for a call that has not ended, not yet counted.
    #[prost(bool, tag = "3")]
    reserved: bool,
}

/// The row of what a turn spends of a budget.
pub(in crate::store) fn encode_charge(spent: Spent, reserved: bool) -> Vec<u8> {
    let Spent { tokens, cost } = spent;
    encode(&ChargeRecord { tokens, cost: (cost != Money::ZERO).then(|| cost.into()), reserved })
}

/// What a turn spends of a budget, or has set aside.
pub(in crate::store) fn decode_charge(row: &[u8]) -> Result<Spent, Damaged> {
    let ChargeRecord { tokens, cost, reserved: _ } = decode(row)?;
    Ok(Spent { tokens, cost: cost.map(Money::from).unwrap_or_default() })
}

impl From<&Usage> for UsageRecord {
    fn from(usage: &Usage) -> UsageRecord {
        UsageRecord {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            connector_tokens: usage.connector_tokens,
            connector_calls: usage.connector_calls.clone(),
            estimated: usage.estimated,
        }
    }
}

impl From<UsageRecord> for Usage {
    fn from(record: UsageRecord) -> Usage {
        Usage {
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            total_tokens: record.total_tokens,
            cached_tokens: record.cached_tokens,
            reasoning_tokens: record.reasoning_tokens,
            connector_tokens: record.connector_tokens,
            connector_calls: record.connector_calls,
            estimated: record.estimated,
        }
    }
}

impl From<Money> for MoneyRecord {
    fn from(money: Money) -> MoneyRecord {
        MoneyRecord { units: money.units(), picos: money.picos() }
    }
}

impl From<MoneyRecord> for Money {
    fn from(MoneyRecord { units, picos }: MoneyRecord) -> Money {
        Money::new(units, picos)
    }
}

impl From<&ModelUsage> for ModelUsageRecord {
    fn from(model: &ModelUsage) -> ModelUsageRecord {
        let ModelUsage { model, usage, cost, attempts } = model;
        let usage = Some(usage.into());
        ModelUsageRecord { model: model.clone(), usage, cost: cost.map(MoneyRecord::from), attempts: *attempts }
    }
}

impl From<ModelUsageRecord> for ModelUsage {
    fn from(record: ModelUsageRecord) -> ModelUsage {
        let ModelUsageRecord { model, usage, cost, attempts } = record;
        let usage = usage.map(Usage::from).unwrap_or_default();
        ModelUsage { model, usage, cost: cost.map(Money::from), attempts }
    }
}

impl From<&Spend> for SpendRecord {
    fn from(spend: &Spend) -> SpendRecord {
        let Spend { usage, cost, unpriced_turns } = spend;
        SpendRecord { usage: Some(usage.into()), cost: Some((*cost).into()), unpriced_turns: *unpriced_turns }
    }
}

impl From<SpendRecord> for Spend {
    fn from(record: SpendRecord) -> Spend {
        let SpendRecord { usage, cost, unpriced_turns } = record;
        Spend {
            usage: usage.map(Usage::from).unwrap_or_default(),
            cost: cost.map(Money::from).unwrap_or_default(),
            unpriced_turns,
        }
    }
}

impl From<&Budget> for BudgetRecord {
    fn from(budget: &Budget) -> BudgetRecord {
        let Budget { max_tokens, max_cost } = budget;
        BudgetRecord { max_tokens: *max_tokens, max_cost: max_cost.map(MoneyRecord::from) }
    }
}

impl From<BudgetRecord> for Budget {
    fn from(BudgetRecord { max_tokens, max_cost }: BudgetRecord) -> Budget {
        Budget { max_tokens, max_cost: max_cost.map(Money::from) }
    }
}

impl From<&Omission> for OmissionRecord {
    fn from(omission: &Omission) -> OmissionRecord {
        let Omission { kind, entry_count, first_entry_id, last_entry_id } = omission;
        let kind = match kind {
            OmissionKind::Thinking => 1,
            OmissionKind::References => 2,
            OmissionKind::OldEntries => 3,
        };
        OmissionRecord {
            kind,
            entry_count: *entry_count,
            first_entry_id: entry_id_bytes(*first_entry_id).to_vec(),
            last_entry_id: entry_id_bytes(*last_entry_id).to_vec(),
        }
    }
}

impl TryFrom<OmissionRecord> for Omission {
    type Error = Damaged;

    fn try_from(record: OmissionRecord) -> Result<Omission, Damaged> {
        let OmissionRecord { kind, entry_count, first_entry_id, last_entry_id } = record;
        let kind = match kind {
            1 => OmissionKind::Thinking,
            2 => OmissionKind::References,
            3 => OmissionKind::OldEntries,
            _ => return Err(Damaged("an omission is of an unknown kind")),
        };
        let (first_entry_id, last_entry_id) = (entry_id(&first_entry_id)?, entry_id(&last_entry_id)?);
        Ok(Omission { kind, entry_count, first_entry_id, last_entry_id })
    }
}
