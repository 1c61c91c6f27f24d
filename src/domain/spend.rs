//! What was spent, and what may be.

use super::{money::Money, turn::Usage};

/// What one model was asked for within a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model: `name`, or `provider/name`.
    pub model: String,
    /// What it used.
    pub usage: Usage,
    /// What that costs; `None`: its price is not known.
    pub cost: Option<Money>,
    /// How often it was asked.
    pub attempts: u32,
}

/// What the turns of a history used together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spend {
    /// The sum of what they used.
    pub usage: Usage,
    /// The sum of what is known to have been paid.
    pub cost: Money,
    /// How many turns used something whose price is not known.
    pub unpriced_turns: u64,
}

impl Spend {
    /// With one more turn.
    #[must_use]
    pub fn and(mut self, usage: &Usage, cost: Option<Money>) -> Spend {
        self.usage.add(usage);
        self.cost += cost.unwrap_or_default();
        let unpriced = cost.is_none() && usage.total_tokens > 0;
        self.unpriced_turns += u64::from(unpriced);
        self
    }
}

/// A ceiling on what may be spent. `None`: none of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Tokens, read and written.
    pub max_tokens: Option<u64>,
    /// Money.
    pub max_cost: Option<Money>,
}
