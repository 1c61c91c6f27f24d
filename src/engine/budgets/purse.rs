//! What one turn may spend, over all its calls.

use std::sync::Arc;

use super::{Balance, Inner, limits, lock};
use crate::{
    domain::{Budget, ConversationId, Failure, Money, Reason, Time, TurnId},
    engine::{failures, ids},
    store::{Account, Charge, Spent},
};

/// A call of a model: what it could take.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Call<'a> {
    /// The provider's name.
    pub(in crate::engine) provider: &'a str,
    /// The model, as the provider names it.
    pub(in crate::engine) model: &'a str,
    /// The model, as callers name it.
    pub(in crate::engine) name: &'a str,
    /// Its prompt and the longest answer, in tokens.
    pub(in crate::engine) tokens: u64,
    /// What these cost; `None`: the price is not known.
    pub(in crate::engine) cost: Option<Money>,
}

/// What one turn may spend, over all its calls.
///
/// Each call is reserved, made, then settled or released; a call that is neither when the next one is reserved counts as it was
/// reserved. The turn's commit takes [`Purse::charges`] along, and the purse must live until it is done. If it is dropped
/// before, nothing is given back: what is set aside counts here as it does in the store, as something that may have been spent.
pub(in crate::engine) struct Purse {
    inner: Arc<Inner>,
    turn: TurnId,
    root: ConversationId,
    turn_budget: Option<Budget>,
    tree_budget: Option<Budget>,
    /// What its calls used.
    used: Spent,
    /// What is set aside for the call that is being made.
    reserved: Option<Spent>,
    /// The accounts that its calls were counted in.
    held: Vec<Held>,
}

struct Held {
    balance: Arc<Balance>,
    used: Spent,
    /// What is set aside is so here, too.
    reserved: bool,
}

/// A budget that a call is under.
struct Ceiling {
    of: Of,
    budget: Budget,
    /// `None`: the turn itself knows what it has used.
    balance: Option<Arc<Balance>>,
}

enum Of {
    Turn,
    Tree,
    Window { name: Arc<str>, ends: Time },
}

impl Purse {
    pub(super) fn new(
        inner: Arc<Inner>,
        turn: TurnId,
        root: ConversationId,
        turn_budget: Option<Budget>,
        tree_budget: Option<Budget>,
    ) -> Purse {
        let (turn_budget, tree_budget) = (turn_budget.filter(limits), tree_budget.filter(limits));
        Purse { inner, turn, root, turn_budget, tree_budget, used: Spent::default(), reserved: None, held: Vec::new() }
    }

    /// Whether a budget applies to calls of this model (`name`: as turns name it). If none
    /// does, nothing below touches a lock or the store.
    pub(in crate::engine) fn is_limited(&self, provider: &str, name: &str) -> bool {
        self.turn_budget.is_some()
            || self.tree_budget.is_some()
            || self.inner.windows.iter().any(|window| window.covers(provider, name))
    }

    /// Sets aside what a call could take, of all budgets that it is under or of none; durable when this returns. Dropped
    /// before, it has set aside nothing: the call is not made.
    ///
    /// # Errors
    ///
    /// `BUDGET_EXCEEDED`, of the first budget that could be passed; that of a conversation that was deleted, and the store's.
    pub(in crate::engine) async fn reserve(&mut self, call: Call<'_>) -> Result<(), Failure> {
        self.reserve_at(call, ids::now).await
    }

    /// The same with another clock. It is asked only if a budget applies.
    pub(super) async fn reserve_at(&mut self, call: Call<'_>, now: impl FnOnce() -> Time) -> Result<(), Failure> {
        if let Some(spent) = self.reserved {
            self.count(spent);
        }
        if !self.is_limited(call.provider, call.name) {
            return Ok(());
        }
        let now = now();
        let ceilings = self.ceilings(&call, now);
        for ceiling in &ceilings {
            ceiling.require_price(&call)?;
        }
        for balance in ceilings.iter().filter_map(|ceiling| ceiling.balance.as_ref()) {
            self.inner.load(balance).await?;
        }
        self.take(ceilings, &call, now)?;
        self.write().await
    }

    /// Counts what a call used instead of what was set aside for it. `cost` of `None`: as was set aside.
    pub(in crate::engine) fn settle(&mut self, tokens: u64, cost: Option<Money>) {
        if let Some(reserved) = self.reserved {
            self.count(Spent { tokens, cost: cost.unwrap_or(reserved.cost) });
        }
    }

    /// The call spent nothing: it was refused before an answer, or not made.
    pub(in crate::engine) fn release(&mut self) {
        if self.reserved.is_some() {
            self.count(Spent::default());
        }
    }

    /// What the turn's commit takes along: its calls together, with what is still set aside.
    pub(in crate::engine) fn charges(&self) -> Vec<Charge> {
        // Nothing was written yet of the tree that this turn makes.
        let nothing = |charge: &Charge| charge.spent == Spent::default() && self.makes(&charge.account);
        self.held.iter().map(|held| self.charge(held)).filter(|charge| !nothing(charge)).collect()
    }

    fn charge(&self, held: &Held) -> Charge {
        let reserved = self.reserved.filter(|_| held.reserved);
        let spent = held.used.and(reserved.unwrap_or_default());
        Charge { account: held.balance.account.clone(), turn: self.turn, spent, reserved: reserved.is_some() }
    }

    /// Whether this is the first turn of the tree. Nobody else can spend in it before it is committed, so that what is set
    /// aside need not be written; and if it never is, there is no tree.
    fn makes(&self, account: &Account) -> bool {
        matches!(account, Account::Tree(root) if *root == self.turn.conversation())
    }

    fn ceilings(&self, call: &Call<'_>, now: Time) -> Vec<Ceiling> {
        let mut ceilings = Vec::new();
        if let Some(budget) = self.turn_budget {
            ceilings.push(Ceiling { of: Of::Turn, budget, balance: None });
        }
        if let Some(budget) = self.tree_budget {
            let balance = Some(self.inner.balance(&Account::Tree(self.root)));
            ceilings.push(Ceiling { of: Of::Tree, budget, balance });
        }
        for window in self.inner.windows.iter().filter(|window| window.covers(call.provider, call.name)) {
            let balance = Some(self.inner.balance(&window.account(now)));
            let of = Of::Window { name: window.name.clone(), ends: window.end(now) };
            ceilings.push(Ceiling { of, budget: window.budget.ceiling, balance });
        }
        ceilings
    }

    /// Takes what the call could take from all budgets, or from none.
    fn take(&mut self, ceilings: Vec<Ceiling>, call: &Call<'_>, now: Time) -> Result<(), Failure> {
        let needed = Spent { tokens: call.tokens, cost: call.cost.unwrap_or_default() };
        let inner = self.inner.clone();
        let _checking = lock(&inner.checking);
        for ceiling in &ceilings {
            let taken = ceiling.balance.as_ref().map_or(self.used, |balance| balance.taken());
            ceiling.require(taken, needed, now)?;
        }
        for balance in ceilings.into_iter().filter_map(|ceiling| ceiling.balance) {
            balance.replace(Spent::default(), needed);
            match self.held.iter_mut().find(|held| Arc::ptr_eq(&held.balance, &balance)) {
                Some(held) => held.reserved = true,
                None => self.held.push(Held { balance, used: Spent::default(), reserved: true }),
            }
        }
        self.reserved = Some(needed);
        Ok(())
    }

    /// Makes durable what was taken.
    async fn write(&mut self) -> Result<(), Failure> {
        let reserved = self.held.iter().filter(|held| held.reserved).map(|held| self.charge(held));
        let charges: Vec<Charge> = reserved.filter(|charge| !self.makes(&charge.account)).collect();
        if charges.is_empty() {
            return Ok(());
        }
        let store = self.inner.store.clone();
        let mut undo = Undo { purse: Some(self) };
        store.reserve(&charges).await.map_err(failures::store)?;
        undo.purse = None;
        Ok(())
    }

    /// Counts an amount instead of what is set aside.
    fn count(&mut self, spent: Spent) {
        let Some(reserved) = self.reserved.take() else { return };
        self.used = self.used.and(spent);
        for held in self.held.iter_mut().filter(|held| held.reserved) {
            held.reserved = false;
            held.used = held.used.and(spent);
            held.balance.replace(reserved, spent);
        }
    }
}

/// Gives back what was taken if it is not made durable, or nobody waits for that any more: no call is made.
struct Undo<'a> {
    purse: Option<&'a mut Purse>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(purse) = self.purse.take() {
            purse.release();
        }
    }
}

impl Ceiling {
    fn require_price(&self, call: &Call<'_>) -> Result<(), Failure> {
        let (Some(_), None) = (self.budget.max_cost, call.cost) else { return Ok(()) };
        let Call { provider, model, name, .. } = call;
        let setting = format!("providers.{provider}.models.\"{model}\".input_price");
        let text = format!(
            "{} has a ceiling on cost, and the price of {name} is not known: configure `{setting}`, or choose another model",
            self.of.title()
        );
        let failure = Failure::new(Reason::BudgetExceeded, text).with("budget", self.of.name());
        Err(failure.with("model", *name).with("setting", setting))
    }

    /// That the call fits into what is left.
    fn require(&self, taken: Spent, needed: Spent, now: Time) -> Result<(), Failure> {
        let Budget { max_tokens, max_cost } = self.budget;
        if let Some(limit) = max_tokens
            && taken.tokens.saturating_add(needed.tokens) > limit
        {
            let left = limit.saturating_sub(taken.tokens);
            let [limit_text, left, needed_text] = [limit, left, needed.tokens].map(|amount| format!("{amount} tokens"));
            return Err(self.exceeded([&limit_text, &left, &needed_text], needed.tokens <= limit, now));
        }
        if let Some(limit) = max_cost
            && taken.cost + needed.cost > limit
        {
            let left = limit.less(taken.cost);
            let [limit_text, left, needed_text] = [limit, left, needed.cost].map(|amount| format!("{amount} USD"));
            return Err(self.exceeded([&limit_text, &left, &needed_text], needed.cost <= limit, now));
        }
        Ok(())
    }

    fn exceeded(&self, [limit, left, needed]: [&str; 3], fits_when_empty: bool, now: Time) -> Failure {
        let advice = match &self.of {
            Of::Turn => "set a lower `max_tokens`, or raise the budget",
            Of::Tree => "set a lower `max_tokens`, or start another conversation",
            Of::Window { .. } if fits_when_empty => "set a lower `max_tokens`, or try again when its window ends",
            Of::Window { .. } => "set a lower `max_tokens`, or raise the budget",
        };
        let title = self.of.title();
        let text = format!("{title} is {limit}, {left} are left, and the call could take {needed}: {advice}");
        let failure = Failure::new(Reason::BudgetExceeded, text);
        let failure =
            failure.with("budget", self.of.name()).with("limit", limit).with("left", left).with("needed", needed);
        match &self.of {
            Of::Window { ends, .. } if fits_when_empty => {
                let us = u64::try_from(ends.unix_us.saturating_sub(now.unix_us)).unwrap_or(0);
                failure.retry_after_ms(us.div_ceil(1000))
            }
            Of::Turn | Of::Tree | Of::Window { .. } => failure,
        }
    }
}

impl Of {
    /// For texts.
    fn title(&self) -> String {
        match self {
            Of::Turn => String::from("the turn's budget"),
            Of::Tree => String::from("the tree's budget"),
            Of::Window { name, .. } => format!("budget \"{name}\""),
        }
    }

    /// For programs.
    fn name(&self) -> &str {
        match self {
            Of::Turn => "turn",
            Of::Tree => "tree",
            Of::Window { name, .. } => name,
        }
    }
}
