//! The ledger: what each turn spends of each budget that it is under, so that what is left is known exactly after a crash.
//!
//! A turn has one row in an account, which each of its writes replaces: before a call of a model it is what the turn's calls
//! have used and what the next one may take, in the end what they used. If a crash comes between, what was set aside counts
//! as spent: the provider may have billed it.

use std::sync::Arc;

use tokio::sync::RwLockReadGuard;
use uuid::Uuid;

use super::{Inner, Store, error::Error, keys, record::spend};
use crate::domain::{ConversationId, Money, Time, TurnId};

/// What has a budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A tree, by its root.
    Tree(ConversationId),
    /// A window of a configured budget.
    Window {
        /// The budget's name.
        name: Arc<str>,
        /// When the window began.
        start: Time,
    },
}

/// What a turn spends of a budget, all its calls together. Of the charges that are written together at most one is to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Whose budget.
    pub account: Account,
    /// The turn.
    pub turn: TurnId,
    /// What its calls used, and what is set aside for one that has not ended. Nothing: it has no row any more.
    pub spent: Spent,
    /// Something is set aside in it.
    pub reserved: bool,
}

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Tokens, read and written.
    pub tokens: u64,
    /// Money, as far as prices are known.
    pub cost: Money,
}

impl Store {
    /// Sets aside what a call may take, before it is made. Durable when this returns; shares its sync with others.
    ///
    /// # Errors
    ///
    /// [`Error::ParentGone`]: a tree does not exist (any more), and nothing was written. A tree whose first turn this is has
    /// nothing to set aside, for nobody else can spend in it yet. [`Error::Failed`].
    pub async fn reserve(&self, charges: &[Charge]) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let tree = inner.charged_tree(charges).await?;
        if tree.gone {
            return Err(Error::ParentGone);
        }
        inner.insert_charges(charges).map_err(|error| inner.flusher.fail(error))?;
        drop(tree);
        inner.flusher.flushed().await
    }

    /// Counts what a turn spent that is not stored. Durable when this returns. What a tree had is gone with it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn charge(&self, charges: &[Charge]) -> Result<(), Error> {
        if charges.is_empty() {
            return Ok(());
        }
        let inner = &*self.inner;
        inner.flusher.writable()?;
        inner.write_charges(charges).await?;
        inner.flusher.flushed().await
    }

    /// What was spent of an account, and what is set aside. Adds up a row for each turn: blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn spent(&self, account: &Account) -> Result<Spent, Error> {
        let prefix = prefix(account);
        let rows = keys::spent_by(&prefix, Uuid::nil())..=keys::spent_by(&prefix, Uuid::max());
        self.inner.disk.range(rows).try_fold(Spent::default(), |sum, row| Ok(sum.and(spend::decode_charge(&row?.1)?)))
    }
}

impl Spent {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Spent) -> Spent {
        Spent { tokens: self.tokens.saturating_add(other.tokens), cost: self.cost + other.cost }
    }

    /// What is left of this after that was taken, at least nothing.
    #[must_use]
    pub fn less(self, other: Spent) -> Spent {
        Spent { tokens: self.tokens.saturating_sub(other.tokens), cost: self.cost.less(other.cost) }
    }
}

/// The tree that charges are for, if they are for one.
struct ChargedTree<'a> {
    _no_delete: Option<RwLockReadGuard<'a, ()>>,
    /// It does not exist (any more).
    gone: bool,
}

impl Inner {
    async fn charged_tree(&self, charges: &[Charge]) -> Result<ChargedTree<'_>, Error> {
        let Some(root) = charges.iter().find_map(Charge::tree) else {
            return Ok(ChargedTree { _no_delete: None, gone: false });
        };
        let no_delete = self.locks.keep(root.0).await;
        Ok(ChargedTree { gone: !self.exists(root.0)?, _no_delete: Some(no_delete) })
    }

    /// Writes charges, but none for a tree that does not exist: nothing would ever remove it.
    pub(super) async fn write_charges(&self, charges: &[Charge]) -> Result<(), Error> {
        let tree = self.charged_tree(charges).await?;
        let kept = charges.iter().filter(|charge| !tree.gone || charge.tree().is_none());
        self.insert_charges(kept).map_err(|error| self.flusher.fail(error))
    }

    /// The rows of charges. Whoever writes one for a tree keeps deletes out.
    pub(super) fn insert_charges<'a>(&self, charges: impl IntoIterator<Item = &'a Charge>) -> Result<(), Error> {
        for Charge { account, turn, spent, reserved } in charges {
            let key = keys::spent_by(&prefix(account), turn.0);
            if *spent == Spent::default() {
                self.disk.remove(key)?;
            } else {
                self.disk.insert(key, &spend::encode_charge(*spent, *reserved))?;
            }
        }
        Ok(())
    }
}

impl Charge {
    fn tree(&self) -> Option<ConversationId> {
        match self.account {
            Account::Tree(root) => Some(root),
            Account::Window { .. } => None,
        }
    }
}

fn prefix(account: &Account) -> Vec<u8> {
    match account {
        Account::Tree(root) => keys::spent_in_tree(root.0).to_vec(),
        Account::Window { name, start } => keys::spent_in_window(name, start.unix_us),
    }
}
