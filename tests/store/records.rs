//! Whatever is committed is read back equal.

use std::sync::Arc;

use causerie::{
    domain::{
        Body, Chunk, ConversationId, Event, EventKind, Settings, Spend, Time, TurnState, Version,
        change::labels,
        entry::{Decision, MessageInput, MessageOutput, OutputStatus, Role, ToolExecution, Verdict},
        event::Author,
    },
    store::{Commit, Ended, Ending, Store, Stored},
};

use super::{
    open,
    random::{effort, seed},
    sample::Maker,
};

/// A first turn with these settings and all that it has.
pub(super) fn start(ended: &Ended, settings: Settings, request: Option<(String, [u8; 16])>) -> Commit {
    let Ended { turn, inputs, events, .. } = ended.clone();
    let history: Vec<_> = inputs.iter().chain(&turn.outputs).cloned().collect();
    let id = turn.id.conversation();
    let version = Version {
        id,
        parent_id: None,
        root_id: id,
        turn_state: turn.state,
        created_at: turn.created_at,
        settings: Arc::new(settings),
        entry_count: history.len() as u64,
        turn_count: 1,
        spend: Spend::default().and(&ended.turn.usage, ended.turn.cost),
        pending_calls: vec!["call-a".into(), String::new()],
        last_entry: history.last().map(|entry| entry.id),
    };
    Commit {
        version,
        parent: None,
        kept: 0,
        inputs,
        turn,
        events,
        request,
        require_head: false,
        charges: Vec::new(),
        journaled: false,
        job: None,
        at: ended.turn.created_at,
        callback_url: None,
        expires_at: None,
    }
}

/// What goes with a turn that made no version.
pub(super) fn ending(ended: &Ended, root: Option<&Version>) -> Ending {
    Ending {
        at: ended.turn.created_at,
        root_id: root.map_or(ended.turn.id.conversation(), |version| version.root_id),
        labels: root.map(|version| labels(&version.settings.metadata)).unwrap_or_default(),
        callback_url: None,
        job: None,
    }
}

fn any_ended(maker: &mut Maker, state: TurnState, parent: Option<ConversationId>) -> Ended {
    let id = maker.uuid();
    let any = |maker: &mut Maker| {
        let body = maker.body();
        maker.entry(body)
    };
    let inputs: Vec<_> = (0..maker.rng.below(4)).map(|_| any(maker)).collect();
    let outputs: Vec<_> = (0..maker.rng.below(4)).map(|_| any(maker)).collect();
    let mut turn = maker.turn(id, parent, outputs, state);
    let mut events = maker.events(&turn, &inputs);
    let known: Vec<_> = inputs.iter().chain(&turn.outputs).cloned().collect();
    for _ in 0..maker.rng.below(8) {
        let at = maker.rng.below(events.len() + 1);
        events.insert(at, maker.any_event(&known));
    }
    let request_fingerprint = maker.rng.maybe(|rng| u128::from(rng.next()).to_be_bytes());
    turn.request_id = request_fingerprint.map(|_| format!("request {id}"));
    Ended { turn, inputs, events, request_fingerprint, kept: 0 }
}

/// Equal in everything: ids compare by their UUID alone, their text shows the kind, too.
fn assert_same(read: &Ended, written: &Ended) {
    assert_eq!(read, written);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
}

#[tokio::test]
async fn any_turn_comes_back_as_it_was_committed() {
    let mut maker = Maker::new(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut written = Vec::new();
    for _ in 0..300 * effort() {
        let failed = maker.rng.one_in(3);
        let states = [TurnState::Completed, TurnState::Incomplete, TurnState::RequiresAction];
        let state = if failed { TurnState::Failed } else { *maker.rng.pick(&states) };
        let ended = any_ended(&mut maker, state, None);
        let request = ended.turn.request_id.clone().zip(ended.request_fingerprint);
        if failed {
            store.commit_failed(ended.clone(), ending(&ended, None), &[]).await.expect("committed");
        } else {
            let commit = start(&ended, maker.settings(), request);
            let version = commit.version.clone();
            assert_eq!(store.commit(commit).await.expect("committed").version, version);
            written.push((ended, Some(version)));
            continue;
        }
        written.push((ended, None));
    }
    drop(store);
    // Nothing may come from memory.
    let store = open(dir.path());
    for (ended, version) in &written {
        let read = store.turn(ended.turn.id).expect("readable").expect("there");
        assert_same(&read, ended);
        let stored = store.version(ended.turn.id.conversation()).expect("readable");
        assert_eq!(stored.map(|stored| stored.version), *version);
        if let Some((request_id, fingerprint)) = ended.turn.request_id.as_deref().zip(ended.request_fingerprint) {
            assert_eq!(store.request(request_id).expect("readable"), Some((ended.turn.id, fingerprint)));
        }
    }
}

/// What an event says as its run does is not written again, and nothing else is lost by that.
#[tokio::test]
async fn the_events_of_a_run_come_back_whether_they_agree_with_it_or_not() {
    let mut maker = Maker::new(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let run = ToolExecution {
        name: "search".into(),
        arguments: "{}".into(),
        info: "{\"pages\": 1}".into(),
        result: vec![Chunk::Text("found".into())],
        status: OutputStatus::Completed,
        error: Some("no more pages".into()),
        tool_call_id: Some("call-a".into()),
        parallel: true,
        decision: Some(Decision {
            verdict: Verdict::Allowed,
            reason: "it is fine".into(),
            decided_by: "anna".into(),
            decided_at: maker.time(),
        }),
    };
    let author = Arc::new(Author { model: "small".into(), agent_id: None });
    let mut written = Vec::new();
    for run in [run, ToolExecution::default()] {
        let (id, output) = (maker.uuid(), maker.entry(Body::ToolExecution(run)));
        let kinds = maker.events_of_run(&output, 0, &author);
        let turn = maker.turn(id, None, vec![output], TurnState::Completed);
        let events = kinds.into_iter().zip(1..).map(|(kind, sequence)| Event {
            sequence,
            first_sequence: sequence,
            created_at: turn.created_at,
            kind,
        });
        let events = events.collect();
        let ended = Ended { turn, inputs: Vec::new(), events, request_fingerprint: None, kept: 0 };
        store.commit(start(&ended, Settings::default(), None)).await.expect("committed");
        written.push(ended);
    }
    drop(store);
    let store = open(dir.path());
    for ended in &written {
        assert_same(&store.turn(ended.turn.id).expect("readable").expect("there"), ended);
    }
}

/// Hex digits of random numbers: no compression makes this small.
fn noise(maker: &mut Maker, bytes: usize) -> Chunk {
    Chunk::Text((0..bytes / 16).map(|_| format!("{:016x}", maker.rng.next())).collect())
}

/// Commits a first turn of 3 MiB in and 2 MiB out.
pub(super) async fn big_turn(store: &Store, maker: &mut Maker) -> (Stored, Ended) {
    let id = maker.uuid();
    let content = vec![noise(maker, 3 << 20)];
    let input = maker.entry(Body::MessageInput(MessageInput { role: Role::User, content, prefix: false }));
    let content = vec![noise(maker, 2 << 20)];
    let output =
        maker.entry(Body::MessageOutput(MessageOutput { content, status: OutputStatus::Completed, segments: vec![] }));
    let turn = maker.turn(id, None, vec![output], TurnState::Completed);
    let inputs = vec![input];
    let done = EventKind::ResponseDone { turn: Arc::new(turn.clone()) };
    let events = vec![Event { sequence: 1, first_sequence: 1, created_at: turn.created_at, kind: done }];
    let ended = Ended { turn, inputs, events, request_fingerprint: None, kept: 0 };
    (store.commit(start(&ended, Settings::default(), None)).await.expect("committed"), ended)
}

#[tokio::test]
async fn a_turn_of_megabytes_comes_back_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (stored, ended) = big_turn(&store, &mut Maker::new(1)).await;
    assert_same(&store.turn(ended.turn.id).expect("readable").expect("there"), &ended);
    // Its first entry alone is above the limit; it comes nevertheless, and comes alone.
    assert_eq!(store.entries(&stored, 0..2, 1 << 20).expect("readable"), ended.inputs);
    assert_eq!(store.entries(&stored, 1..2, 1 << 20).expect("readable"), ended.turn.outputs);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).map_or(0, |blobs| blobs.count());
    assert_eq!(blobs, 0, "sled never syncs its blob files: nothing may go there");
    assert_eq!(store.delete(stored.version.id, false, Time::default()).await, Ok(1));
}
