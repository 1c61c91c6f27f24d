//! What the tests stand on.

use std::path::Path;

use tempfile::TempDir;
use uuid::Uuid;

use super::super::*;
use crate::{
    domain::{Money, Settings, Spend, Turn, TurnState, Usage, Version},
    store::{Commit, Ended, Options},
};

/// A store with a tree in it.
pub(super) struct Ground {
    pub(super) dir: TempDir,
    pub(super) store: Store,
    pub(super) root: ConversationId,
}

impl Ground {
    pub(super) async fn new() -> Ground {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        let root = start(&store, turn()).await;
        Ground { dir, store, root }
    }

    pub(super) fn account(&self) -> Account {
        Account::Tree(self.root)
    }

    pub(super) fn spent(&self) -> u64 {
        self.store.spent(&self.account()).expect("readable").tokens
    }

    pub(super) fn budgets(&self, windows: Vec<WindowBudget>) -> Budgets {
        Budgets::new(self.store.clone(), windows)
    }

    /// The process ends and starts again.
    pub(super) fn reopen(self) -> Ground {
        let Ground { dir, store, root } = self;
        store.close();
        Ground { store: open(dir.path()), dir, root }
    }
}

pub(super) fn open(path: &Path) -> Store {
    let options = Options { cache_bytes: 32 << 20, min_free_bytes: 0, ..Options::new(path) };
    Store::open(&options).expect("the store opens")
}

pub(super) fn commit_of(id: TurnId) -> Commit {
    let turn = Turn { conversation_id: Some(id.conversation()), ..ended(id, TurnState::Completed).turn };
    let version = Version {
        id: id.conversation(),
        parent_id: None,
        root_id: id.conversation(),
        turn_state: TurnState::Completed,
        created_at: Time::default(),
        settings: Arc::new(Settings::default()),
        entry_count: 0,
        turn_count: 1,
        spend: Spend::default(),
        pending_calls: Vec::new(),
        last_entry: None,
    };
    let (inputs, events, charges) = (Vec::new(), Vec::new(), Vec::new());
    let (parent, request, kept, require_head, journaled) = (None, None, 0, false, false);
    let (job, at, callback_url, expires_at) = (None, Time::default(), None, None);
    Commit {
        version,
        parent,
        kept,
        inputs,
        turn,
        events,
        request,
        require_head,
        charges,
        journaled,
        job,
        at,
        callback_url,
        expires_at,
    }
}

pub(super) fn ended(id: TurnId, state: TurnState) -> Ended {
    let turn = Turn {
        id,
        state,
        finish_reason: None,
        conversation_id: None,
        parent_id: None,
        model: String::new(),
        agent_id: None,
        agent_version: None,
        outputs: Vec::new(),
        usage: Usage::default(),
        cost: None,
        models: Vec::new(),
        omissions: Vec::new(),
        error: None,
        created_at: Time::default(),
        completed_at: None,
        last_sequence: 0,
        request_id: None,
        background: None,
    };
    Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 }
}

pub(super) async fn start(store: &Store, id: TurnId) -> ConversationId {
    store.commit(commit_of(id)).await.expect("committed").version.id
}

pub(super) fn turn() -> TurnId {
    TurnId(Uuid::now_v7())
}

pub(super) fn tokens(max: u64) -> Option<Budget> {
    Some(Budget { max_tokens: Some(max), max_cost: None })
}

pub(super) fn dollars(picos: i64) -> Option<Budget> {
    Some(Budget { max_tokens: None, max_cost: Some(Money::new(0, picos)) })
}

pub(super) fn window(name: &str, seconds: u64, max: u64) -> WindowBudget {
    let ceiling = tokens(max).expect("a budget");
    WindowBudget { name: name.into(), window: Duration::from_secs(seconds), ceiling, provider: None, models: None }
}

/// So many tokens, each of which costs a picodollar.
pub(super) fn call(tokens: u64) -> Call<'static> {
    let cost = Some(Money::new(0, tokens as i64));
    Call { provider: "mistral", model: "small-1", name: "small", tokens, cost }
}

pub(super) fn told<'a>(failure: &'a Failure, key: &str) -> Option<&'a str> {
    failure.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

pub(super) fn left(failure: Failure) -> String {
    assert_eq!(failure.reason, Reason::BudgetExceeded, "{failure}");
    told(&failure, "left").expect("it is told").to_owned()
}

/// What the process itself counts for an account.
pub(super) fn counted(budgets: &Budgets, account: &Account) -> u64 {
    budgets.inner.balance(account).taken().tokens
}
