//! What turns spend of budgets: exact, before and after a crash, and gone with what it was for.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use causerie::{
    domain::{ConversationId, Money, Settings, Time, TurnId, TurnState},
    store::{Account, Charge, Commit, Ended, Error, Spent, Store},
};

use super::{
    delete::{append, tree},
    keys_but_marks, open,
    random::{Rng, seed},
    raw, raw_keys, records,
    sample::Maker,
};

/// What the ledger should hold.
#[derive(Default)]
pub(super) struct Ledger {
    rows: HashMap<(Account, TurnId), Spent>,
    /// Those that ever had a row.
    accounts: HashSet<Account>,
}

impl Ledger {
    pub(super) fn write(&mut self, charges: &[Charge]) {
        for Charge { account, turn, spent, reserved: _ } in charges {
            self.accounts.insert(account.clone());
            let row = (account.clone(), *turn);
            match *spent == Spent::default() {
                true => self.rows.remove(&row),
                false => self.rows.insert(row, *spent),
            };
        }
    }

    pub(super) fn delete(&mut self, trees: impl Iterator<Item = ConversationId>) {
        let trees: BTreeSet<_> = trees.collect();
        self.rows.retain(|(account, _), _| !matches!(account, Account::Tree(root) if trees.contains(root)));
    }

    /// Removes old windows; gives the number of their rows.
    pub(super) fn expire(&mut self, before: Time) -> u64 {
        let rows = self.rows.len();
        self.rows.retain(|(account, _), _| !matches!(account, Account::Window { start, .. } if *start < before));
        (rows - self.rows.len()) as u64
    }

    pub(super) fn check(&self, store: &Store) {
        for account in &self.accounts {
            let of_it = self.rows.iter().filter(|((of, _), _)| of == account);
            let sum = of_it.fold(Spent::default(), |sum, (_, spent)| sum.and(*spent));
            assert_eq!(store.spent(account), Ok(sum), "{account:?}");
        }
    }
}

fn window(name: &str, start: i64) -> Account {
    Account::Window { name: name.into(), start: Time { unix_us: start } }
}

/// A turn's charges to some of the accounts that there may be. Names are chosen to be mistaken for each other.
pub(super) fn charges(rng: &mut Rng, tree: Option<ConversationId>, turn: TurnId, reserved: bool) -> Vec<Charge> {
    let windows = ["", "a", "ab", "a\0\0"].map(|name| window(name, rng.below(4) as i64));
    let accounts = tree.map(Account::Tree).into_iter().chain(windows);
    let mut charges = Vec::new();
    for account in accounts {
        let cost = Money::new(rng.below(2) as i64, rng.below(2) as i64 * 999_999_999_999);
        let spent = Spent { tokens: rng.below(3) as u64 * 1000, cost };
        if rng.one_in(3) {
            charges.push(Charge { account, turn, spent, reserved });
        }
    }
    charges
}

fn tokens(account: &Account, turn: TurnId, tokens: u64, reserved: bool) -> Charge {
    Charge { account: account.clone(), turn, spent: Spent { tokens, cost: Money::new(0, 7) }, reserved }
}

fn sum(store: &Store, account: &Account) -> u64 {
    store.spent(account).expect("readable").tokens
}

fn started(maker: &mut Maker) -> Commit {
    let id = maker.uuid();
    let turn = maker.turn(id, None, Vec::new(), TurnState::Completed);
    let ended = Ended { turn, inputs: vec![maker.user(5)], events: Vec::new(), request_fingerprint: None, kept: 0 };
    records::start(&ended, Settings::default(), None)
}

fn ledger_keys(path: &Path) -> usize {
    raw_keys(path).iter().filter(|key| b"LP".contains(&key[0])).count()
}

#[tokio::test]
async fn a_reservation_counts_until_its_turn_is_committed_and_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let root = tree(&store, &mut maker, 1).await.remove(0);
    let (account, day) = (Account::Tree(root.version.id), window("day", 86_400_000_000));
    let [crashed, failed, made] = [(); 3].map(|()| TurnId(maker.uuid()));
    for turn in [crashed, failed, made] {
        let charges = [tokens(&account, turn, 1000, true), tokens(&day, turn, 1000, true)];
        store.reserve(&charges).await.expect("reserved");
    }
    assert_eq!((sum(&store, &account), sum(&store, &day)), (3000, 3000));
    let turn = maker.turn(failed.0, Some(root.version.id), Vec::new(), TurnState::Failed);
    let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 1 };
    // It was refused before it cost anything.
    let charges =
        [&account, &day].map(|account| Charge { spent: Spent::default(), ..tokens(account, failed, 0, false) });
    let ending = records::ending(&ended, Some(&root.version));
    store.commit_failed(ended, ending, &charges).await.expect("committed");
    let commit = Commit {
        charges: vec![tokens(&account, made, 30, false), tokens(&day, made, 30, false)],
        journaled: false,
        ..started(&mut maker)
    };
    let other = store.commit(commit).await.expect("committed");
    store.close();
    assert_eq!(ledger_keys(dir.path()), 4);

    let store = open(dir.path());
    assert_eq!((sum(&store, &account), sum(&store, &day)), (1030, 1030));
    assert_eq!(store.spent(&day).expect("readable").cost, Money::new(0, 14));
    assert_eq!(sum(&store, &Account::Tree(other.version.id)), 0);
    assert_eq!(store.expire_windows(Time { unix_us: 86_400_000_000 }), Ok(0), "it is not that old");
    assert_eq!(store.expire_windows(Time { unix_us: 86_400_000_001 }), Ok(2));
    assert_eq!((sum(&store, &account), sum(&store, &day)), (1030, 0));
    store.close();
}

#[tokio::test]
async fn a_branch_takes_no_money_with_it_and_a_tree_leaves_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let root = tree(&store, &mut maker, 1).await.remove(0);
    let account = Account::Tree(root.version.id);
    let branch = append(&store, &mut maker, &root, root.version.entry_count, false).await;
    let turn = branch.version.id.turn();
    store.charge(&[tokens(&account, turn, 5, false)]).await.expect("charged");
    store.delete(branch.version.id, false, Time::default()).await.expect("deleted");
    assert_eq!(sum(&store, &account), 5);
    store.delete(root.version.id, false, Time::default()).await.expect("deleted");
    assert_eq!(sum(&store, &account), 0);

    // A turn that still runs on it: nothing would ever remove what it charges, and nobody can spend there any more.
    let day = window("day", 0);
    let late = TurnId(maker.uuid());
    let reserved = [tokens(&day, late, 9, true), tokens(&account, late, 9, true)];
    assert_eq!(store.reserve(&reserved).await, Err(Error::ParentGone));
    assert_eq!((sum(&store, &account), sum(&store, &day)), (0, 0));
    let spent = [tokens(&day, late, 9, false), tokens(&account, late, 9, false)];
    let turn = maker.turn(late.0, Some(root.version.id), Vec::new(), TurnState::Failed);
    let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 1 };
    let ending = records::ending(&ended, Some(&root.version));
    assert_eq!(store.commit_failed(ended, ending, &spent).await, Err(Error::ParentGone));
    assert_eq!((sum(&store, &account), sum(&store, &day)), (0, 9));
    store.charge(&[tokens(&account, late, 9, false)]).await.expect("nothing to charge");
    assert_eq!(store.expire_windows(Time { unix_us: i64::MAX }), Ok(1));
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

/// A crash between the charges and the version: of a tree that never was nothing is left.
#[tokio::test]
async fn what_an_unfinished_start_spent_goes_with_it_and_what_an_append_spent_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let root = tree(&store, &mut maker, 1).await.remove(0);
    let account = Account::Tree(root.version.id);
    let append = append(&store, &mut maker, &root, root.version.entry_count, false).await;
    store.charge(&[tokens(&account, append.version.id.turn(), 5, false)]).await.expect("charged");
    let commit = started(&mut maker);
    let lost = Account::Tree(commit.version.id);
    let charges = vec![tokens(&lost, commit.turn.id, 7, false)];
    let start = store.commit(Commit { charges, ..commit }).await.expect("committed");
    assert_eq!(sum(&store, &lost), 7);
    store.close();
    for id in [append.version.id, start.version.id] {
        raw(dir.path()).remove([b"V", id.as_bytes().as_slice()].concat()).expect("written").expect("it was there");
    }
    let store = open(dir.path());
    assert_eq!((sum(&store, &account), sum(&store, &lost)), (5, 0));
    store.close();
    assert_eq!(ledger_keys(dir.path()), 1);
}

#[tokio::test]
async fn a_turn_without_charges_writes_no_row_of_the_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    tree(&store, &mut Maker::new(seed()), 20).await;
    let before = store.stats().syncs;
    store.charge(&[]).await.expect("nothing to do");
    assert_eq!(store.stats().syncs, before);
    store.close();
    assert_eq!(ledger_keys(dir.path()), 0);
}
