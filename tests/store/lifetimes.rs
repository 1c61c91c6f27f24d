//! Trees that go by themselves: found when their time has come, and nothing is left of that when they are gone.

use causerie::{
    domain::{Time, TurnState},
    store::{Commit, Ended, Error, Store, Stored},
};

use super::{
    delete::{append, tree},
    keys_but_marks, open,
    random::seed,
    raw, raw_keys, records,
    sample::Maker,
};

const fn at(unix_us: i64) -> Time {
    Time { unix_us }
}

async fn start(store: &Store, maker: &mut Maker, expires_at: Option<Time>) -> Stored {
    let id = maker.uuid();
    let turn = maker.turn(id, None, Vec::new(), TurnState::Completed);
    let ended = Ended { turn, inputs: vec![maker.user(5)], events: Vec::new(), request_fingerprint: None, kept: 0 };
    store.commit(Commit { expires_at, ..records::start(&ended, maker.settings(), None) }).await.expect("committed")
}

fn of_lifetimes(keys: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    keys.into_iter().filter(|key| b"ex".contains(&key[0])).collect()
}

#[tokio::test]
async fn a_tree_is_due_at_its_moment_and_not_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let [late, never, soon] = [
        start(&store, &mut maker, Some(at(30))).await,
        start(&store, &mut maker, None).await,
        start(&store, &mut maker, Some(at(10))).await,
    ]
    .map(|stored| stored.version.id);
    assert_eq!(store.expiry(soon), Ok(Some(at(10))));
    assert_eq!((store.expiry(never), store.expired(at(9), 9)), (Ok(None), Ok(vec![])));
    assert_eq!(store.expired(at(10), 9), Ok(vec![soon]));
    assert_eq!(store.expired(at(30), 9), Ok(vec![soon, late]));
    assert_eq!(store.expired(at(30), 1), Ok(vec![soon]));

    store.set_expiry(soon, Some(at(40))).await.expect("written");
    store.set_expiry(late, None).await.expect("written");
    store.set_expiry(never, Some(at(-7))).await.expect("written");
    store.set_expiry(never, Some(at(-7))).await.expect("written");
    store.close();
    let store = open(dir.path());
    assert_eq!(store.expired(at(50), 9), Ok(vec![never, soon]));
    assert_eq!((store.expiry(late), store.expiry(never)), (Ok(None), Ok(Some(at(-7)))));
    store.close();
    assert_eq!(of_lifetimes(raw_keys(dir.path())).len(), 4);
}

#[tokio::test]
async fn what_is_no_tree_has_no_lifetime_and_a_deleted_one_leaves_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let root = start(&store, &mut maker, Some(at(10))).await;
    let child = append(&store, &mut maker, &root, 1, false).await;
    assert_eq!(store.set_expiry(child.version.id, Some(at(1))).await, Err(Error::NotFound));
    store.delete(child.version.id, false, at(5)).await.expect("deleted");
    assert_eq!(store.expired(at(10), 9), Ok(vec![root.version.id]), "a branch is not the tree");
    store.delete(root.version.id, false, at(5)).await.expect("deleted");
    assert_eq!((store.expired(at(10), 9), store.expiry(root.version.id)), (Ok(vec![]), Ok(None)));
    assert_eq!(store.set_expiry(root.version.id, Some(at(1))).await, Err(Error::NotFound));
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

/// Rows of the index that a crash left behind: of another moment, and of a tree that is gone.
#[tokio::test]
async fn what_a_crash_left_of_a_lifetime_goes_when_it_is_met() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let root = start(&store, &mut maker, Some(at(20))).await.version.id;
    let other = tree(&store, &mut maker, 1).await.remove(0).version.id;
    store.close();
    let rows = of_lifetimes(raw_keys(dir.path()));
    {
        let raw = raw(dir.path());
        for (at, id) in [(10u64, root), (15, other)] {
            let key = [b"x".as_slice(), &at.to_be_bytes(), id.as_bytes()].concat();
            raw.insert(key, Vec::new()).expect("written");
        }
    }
    let store = open(dir.path());
    assert_eq!(store.expired(at(19), 9), Ok(vec![]));
    assert_eq!(store.expired(at(20), 9), Ok(vec![root]));
    store.close();
    assert_eq!(of_lifetimes(raw_keys(dir.path())), rows);
}
