//! Budgets: what turns may still spend, of their own budget, of their tree's and of the configured ones.
//!
//! The store has a row for each turn and account; here is their sum, for the accounts that are in use. It is read from the
//! store once and then kept: all turns of the process pass through here. What is set aside counts like what was spent.

mod purse;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rust_decimal::Decimal;

pub(super) use self::purse::{Call, Purse};
use super::{failures, ids};
use crate::{
    domain::{Budget, ConversationId, Failure, Money, Reason, Time, TurnId},
    store::{self, Account, Charge, Spent, Store},
};

/// A ceiling on what all turns together may spend in a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowBudget {
    /// Its name, of which there is one. Under it the store knows what was spent.
    pub name: String,
    /// How long a window is. Windows begin at multiples of it since 1970 UTC.
    pub window: Duration,
    /// What may be spent in a window.
    pub ceiling: Budget,
    /// Only calls of this provider count; `None`: of all.
    pub provider: Option<String>,
    /// Only calls of these models count, under any of the names that are built in for them; `None`: of all.
    pub models: Option<Vec<String>>,
}

impl WindowBudget {
    /// A ceiling on tokens, on dollars, or on both.
    pub fn ceiling(max_tokens: Option<u64>, max_dollars: Option<Decimal>) -> Budget {
        Budget { max_tokens, max_cost: max_dollars.and_then(Money::from_decimal) }
    }
}

/// What may still be spent. A cheap handle.
#[derive(Clone)]
pub(super) struct Budgets {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    windows: Vec<Window>,
    accounts: Mutex<Accounts>,
    /// Held while the ceilings of a call are compared and its amount is taken from all of them, and never over a wait.
    checking: Mutex<()>,
}

struct Window {
    budget: WindowBudget,
    name: Arc<str>,
    length_us: i64,
}

/// The accounts in use, and some that were.
#[derive(Default)]
struct Accounts {
    known: HashMap<Account, Arc<Balance>>,
    /// When there are as many, those that nobody uses go.
    sweep_at: usize,
}

/// So many accounts stay without a look at who uses them: a few MB.
const ACCOUNTS_KEPT: usize = 10_000;

struct Balance {
    account: Account,
    /// One reads the sum, the others wait for it; an import writes a row behind its back. Held over reads and writes of the
    /// store, never over a model.
    loading: tokio::sync::Mutex<()>,
    /// What is spent or set aside; `None`: it was not read yet.
    taken: Mutex<Option<Spent>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums are changed in one step: whoever panicked left them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a budget has a ceiling at all.
fn limits(budget: &Budget) -> bool {
    budget.max_tokens.is_some() || budget.max_cost.is_some()
}

impl Budgets {
    /// The budgets of a store, and those that are configured. Reads nothing.
    pub(super) fn new(store: Store, windows: Vec<WindowBudget>) -> Budgets {
        let window = |budget: WindowBudget| Window {
            name: budget.name.as_str().into(),
            length_us: i64::try_from(budget.window.as_micros()).unwrap_or(i64::MAX).max(1),
            budget,
        };
        let windows = windows.into_iter().filter(|budget| limits(&budget.ceiling)).map(window).collect();
        let (accounts, checking) = (Mutex::default(), Mutex::default());
        Budgets { inner: Arc::new(Inner { store, windows, accounts, checking }) }
    }

    /// What a turn may spend.
    pub(super) fn purse(
        &self,
        turn: TurnId,
        root: ConversationId,
        turn_budget: Option<Budget>,
        tree_budget: Option<Budget>,
    ) -> Purse {
        Purse::new(self.inner.clone(), turn, root, turn_budget, tree_budget)
    }

    /// Commits what has a charge that no purse made: an imported version. If the future is dropped the charge counts here
    /// though it may not have been written, until the account is read anew.
    pub(super) async fn importing<T, E>(
        &self,
        charge: Option<Charge>,
        commit: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(Charge { account, spent, .. }) = charge else { return commit.await };
        let balance = self.inner.balance(&account);
        // Else a sum that is read meanwhile may have the new row or not.
        let _not_loading = balance.loading.lock().await;
        balance.replace(Spent::default(), spent);
        commit.await.inspect_err(|_| balance.replace(spent, Spent::default()))
    }

    /// Forgets a tree that was deleted: its rows are gone, and an import may bring it back.
    pub(super) fn forget(&self, root: ConversationId) {
        lock(&self.inner.accounts).known.remove(&Account::Tree(root));
    }

    /// Removes what was spent in windows that are over, however long they were; returns the number of rows. Blocks.
    ///
    /// What is configured now says nothing of the windows that rows were written in: a start without a budget, or with a shorter
    /// window, must not forget what was spent under it. A row is small beside the turn that it is of, which stays.
    pub(super) fn expire_windows(&self) -> Result<u64, store::Error> {
        let now = ids::now();
        let configured = self.inner.windows.iter().map(|window| window.length_us).max().unwrap_or(0);
        let before = now.unix_us.saturating_sub(configured.max(LONGEST_WINDOW_US)).saturating_sub(DAY_US);
        self.inner.store.expire_windows(Time { unix_us: before })
    }
}

const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// No window can be configured that is longer.
const LONGEST_WINDOW_US: i64 = 366 * DAY_US;

impl Window {
    /// `name`: the model as [`Models`](super::models::Models) names it.
    fn covers(&self, provider: &str, name: &str) -> bool {
        let WindowBudget { provider: of_provider, models, .. } = &self.budget;
        let is_among = |models: &Vec<String>| models.iter().any(|of| of == name);
        of_provider.as_ref().is_none_or(|of| of == provider) && models.as_ref().is_none_or(is_among)
    }

    /// When the window began that a moment is in.
    fn start(&self, now: Time) -> Time {
        Time { unix_us: now.unix_us.div_euclid(self.length_us).saturating_mul(self.length_us) }
    }

    fn end(&self, now: Time) -> Time {
        Time { unix_us: self.start(now).unix_us.saturating_add(self.length_us) }
    }

    fn account(&self, now: Time) -> Account {
        Account::Window { name: self.name.clone(), start: self.start(now) }
    }
}

impl Inner {
    /// The balance of an account, the same for all who use it at a time.
    fn balance(&self, account: &Account) -> Arc<Balance> {
        let mut accounts = lock(&self.accounts);
        if let Some(balance) = accounts.known.get(account) {
            return balance.clone();
        }
        if accounts.known.len() >= accounts.sweep_at.max(ACCOUNTS_KEPT) {
            self.sweep(&mut accounts);
        }
        let balance = Arc::new(Balance {
            account: account.clone(),
            loading: tokio::sync::Mutex::default(),
            taken: Mutex::default(),
        });
        accounts.known.insert(account.clone(), balance.clone());
        balance
    }

    /// Forgets the accounts that no turn uses, but for the windows of now: many turns would have to be added up again.
    fn sweep(&self, accounts: &mut Accounts) {
        let now = ids::now();
        let current: Vec<Account> = self.windows.iter().map(|window| window.account(now)).collect();
        // Whoever has a balance got it under the lock that is held: one that only the map has stays unused.
        accounts.known.retain(|account, balance| Arc::strong_count(balance) > 1 || current.contains(account));
        accounts.sweep_at = accounts.known.len() * 2;
    }

    /// Reads the sum of an account, if it was not read.
    async fn load(&self, balance: &Balance) -> Result<(), Failure> {
        if balance.is_loaded() {
            return Ok(());
        }
        let _one_reads = balance.loading.lock().await;
        if balance.is_loaded() {
            return Ok(());
        }
        let (store, account) = (self.store.clone(), balance.account.clone());
        let spent = tokio::task::spawn_blocking(move || store.spent(&account)).await;
        let spent =
            spent.map_err(|_| Failure::new(Reason::Internal, "a read of the store panicked; the log says where"))?;
        *lock(&balance.taken) = Some(spent.map_err(failures::store)?);
        Ok(())
    }
}

impl Balance {
    fn is_loaded(&self) -> bool {
        lock(&self.taken).is_some()
    }

    /// What is spent or set aside.
    fn taken(&self) -> Spent {
        lock(&self.taken).unwrap_or_default()
    }

    /// Takes one amount for another. Does nothing before the sum was read, which will have it.
    fn replace(&self, old: Spent, new: Spent) {
        if let Some(taken) = &mut *lock(&self.taken) {
            *taken = taken.less(old).and(new);
        }
    }
}
