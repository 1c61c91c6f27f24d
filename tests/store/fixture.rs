//! A directory that an earlier release wrote opens and reads: `tests/fixtures/store-v1` is one of format 1.
//!
//! `CAUSERIE_WRITE_FIXTURE=1 cargo test --test main store::fixture` writes it anew, which only a release that changes the format
//! does, under another name.

use std::{fs, path::Path};

use causerie::{
    domain::TurnState,
    store::{Ended, Options, Store, Stored},
};

use siphasher::sip::SipHasher13;

use super::{
    delete::{append, tree},
    open, records,
    sample::Maker,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v1");

/// Everything that can be read of a store, as text; of what is long, the beginning and a hash.
fn everything(store: &Store) -> String {
    let mut text = String::new();
    let mut line = |title: &str, value: &dyn std::fmt::Debug| {
        let value = format!("{value:?}");
        let hash = SipHasher13::new().hash(value.as_bytes());
        let shown: String = value.chars().take(1000).collect();
        text.push_str(&format!("{title} {hash:016x}: {shown}\n"));
    };
    for root in store.roots(None, usize::MAX).expect("readable") {
        for (stored, head) in store.tree(root, None, usize::MAX).expect("readable").rows {
            let Stored { version, .. } = &stored;
            line("version", version);
            line("head", &head);
            line("history", &store.history(&stored, u64::MAX).expect("readable"));
            line("turn", &store.turn(version.id.turn()).expect("readable"));
        }
    }
    for request in ["request of a failed turn", "no request"] {
        let found = store.request(request).expect("readable");
        line("request", &found);
        line("failed", &found.map(|(turn, _)| store.turn(turn).expect("readable")));
    }
    text
}

async fn write(path: &Path) {
    let store = open(path);
    let mut maker = Maker::new(1);
    let versions = tree(&store, &mut maker, 12).await;
    tree(&store, &mut maker, 3).await;
    append(&store, &mut maker, &versions[3], 1, true).await;
    let id = maker.uuid();
    let inputs = vec![maker.user(20)];
    let mut turn = maker.turn(id, None, Vec::new(), TurnState::Failed);
    turn.request_id = Some("request of a failed turn".into());
    let events = maker.events(&turn, &inputs);
    let ended = Ended { turn, inputs, events, request_fingerprint: Some([3; 16]), kept: 0 };
    let ending = records::ending(&ended, None);
    store.commit_failed(ended, ending, &[]).await.expect("committed");
    fs::write(path.join("everything.txt"), everything(&store)).expect("written");
    store.close();
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            continue;
        }
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[tokio::test]
async fn a_store_of_format_1_opens_and_reads_completely() {
    let fixture = Path::new(DIRECTORY);
    if std::env::var_os("CAUSERIE_WRITE_FIXTURE").is_some() {
        fs::create_dir_all(fixture).expect("a directory");
        write(fixture).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    copy(fixture, dir.path());
    let expected = fs::read_to_string(fixture.join("everything.txt")).expect("text");
    let store = Store::open(&Options { min_free_bytes: 0, ..Options::new(dir.path()) }).expect("it opens");
    assert_eq!(store.tag_key().len(), 16);
    let read = everything(&store);
    // A newer release prints more fields; the store stays as it was written.
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(fixture.join("everything.txt"), &read).expect("written");
        return;
    }
    assert_eq!((*store.revision().borrow(), store.oldest_revision()), (0, 1), "nobody told of changes then");
    for (read, expected) in read.lines().zip(expected.lines()) {
        assert_eq!(read, expected);
    }
    assert_eq!(read, expected);
}
