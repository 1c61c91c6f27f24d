//! The store: what it promises, against a plain model, through re-opens, crashes and damage.

mod agents;
mod changes;
mod crash;
mod delete;
mod durability;
mod fixture;
mod jobs;
mod large;
mod ledger;
mod lifetimes;
mod model;
mod open;
mod plain;
mod random;
mod records;
mod sample;
mod spend;

use causerie::store::{Options, Store};

/// A store in a directory, without a floor of free space: the tests' disk may be any.
fn open(path: &std::path::Path) -> Store {
    Store::open(&options(path)).expect("the store opens")
}

fn options(path: &std::path::Path) -> Options {
    Options { cache_bytes: 32 << 20, min_free_bytes: 0, ..Options::new(path) }
}

/// The keys of a store that is closed.
fn raw_keys(path: &std::path::Path) -> Vec<Vec<u8>> {
    let raw = raw(path);
    raw.iter().keys().map(|key| key.expect("a key").to_vec()).collect()
}

/// The keys of a closed store but for what deleted turns leave: the marks, which are no more than their ids, and the changes.
fn keys_but_marks(path: &std::path::Path) -> Vec<Vec<u8>> {
    let stays = |key: &[u8]| (key[0], key.len()) == (b'Z', 17) || (key[0], key.len()) == (b'H', 9);
    raw_keys(path).into_iter().filter(|key| !stays(key)).collect()
}

/// The engine below a store that is closed.
fn raw(path: &std::path::Path) -> sled::Db {
    // Its lock may outlive the last handle for a moment.
    for _ in 0..200 {
        match sled::Config::new().path(path).segment_size(16 << 20).open() {
            Err(sled::Error::Io(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            opened => return opened.expect("sled opens"),
        }
    }
    panic!("sled stays locked");
}
