//! Every key of the store, on one page. One byte says what the row is, ids are 16 bytes, numbers are big-endian. A byte that was
//! once used for something is never used for anything else.
//!
//! | key | value | when |
//! |---|---|---|
//! | `@` | format version and secret of the store | once |
//! | `W` | a number that is kept in a file, too: whether the newest writes are there | once a second |
//! | `T branch seq4 chunk2` | a turn: its entries and its event log, in pieces of 64 KiB | every turn |
//! | `V version` | a version: where its turn lies and what it fixes. **The commit point**: written last | every turn |
//! | `S version` | the settings that this version introduced; its descendants share them | if they differ from the parent's |
//! | `A branch` | what a branch grew out of: its ancestry | a branch that is not a root |
//! | `R root depth4 branch` | nothing: the branches of a tree, parents first | every branch |
//! | `C version branch` | nothing: the branches that were opened on a version | a branch that is not a root |
//! | `M pair8 branch`, `X model8 branch`, `G agent8 branch` | the seq that brought the value into the branch | every branch, and an override |
//! | `K request-id` | turn id and fingerprint of the request | if there is one |
//! | `F turn chunk2` | a turn that made no version, in pieces of 64 KiB; chunk 0 is written last | a failed turn |
//! | `E version turn` | nothing: the failed turns that ran on a version | a failed turn with a parent |
//! | `Z turn` | nothing: the turn was deleted, which tells it from one that a crash lost | deleted turns |
//! | `D version` | a delete that has begun and is redone at open | while it runs |
//! | `L root turn` | what a turn spends of its tree's budget | a turn of a tree that has one |
//! | `Y turn` | which place holds a turn in the middle of its work, and the settings of the version it would make | while tools run |
//! | `I turn place1 chunk2` | that turn as it would be kept if it were cut off, in pieces of 64 KiB | while tools run |
//! | `P start8 length4 name turn` | what a turn spends of a configured budget in the window that begins then (µs since 1970) | a turn under such a budget |
//! | `N agent` | what changes about an agent: current version, aliases, revision. **The commit point**: written last. Stays when it is gone, as the proof that it was | every change of an agent |
//! | `U agent version4 chunk2` | what a version of an agent fixes, in pieces of 64 KiB | every version of an agent |
//! | `J created8 agent` | nothing: the agents by their age (µs since 1970) | a new agent |
//! | `Q request-id` | the agent that a request made, and the request's fingerprint | if there is one |
//! | `H revision8` | a change: what happened, numbered 1, 2, 3 … in the whole store. Written right before the row that makes it true, and nothing else is written between the two that has a change | every turn, every step of a job, every deleted version |
//! | `B turn` | how far a turn has come that outlives its call, and what it belongs to. **The commit point** of its acceptance: written last, and removed last | while such a turn is queued or runs |
//! | `b turn chunk2` | what was asked of that turn, in pieces of 64 KiB | while it is queued or runs |
//! | `O turn first8 chunk2` | events of that turn that readers have seen, from this sequence on, in pieces of 64 KiB | while it runs |
//! | `e root` | when a tree goes by itself (µs since 1970) | a tree that does |
//! | `x expire8 root` | nothing: the trees by when they go. Counts only if `e` says the same | a tree that does |
//! | `w hook` | an endpoint that is told of changes: what its maker says of it, secrets included. **The commit point**: removed last | every change of an endpoint |
//! | `k hook` | how far an endpoint has come; of nil: how far callbacks have | deliveries, at most once a second without any |
//! | `d hook place8 test16` | what was sent to an endpoint, by the revision (of a test: the newest one then) | an attempt; kept for some days |
//! | `q revision8` | a callback that is still to be delivered | while it is |
//! | `g batch` | many turns that are run as one: what was asked, and where it stands. **The commit point** of its making, and of its end | every step of a batch |
//! | `h batch index4` | the turn of an item; nothing: it was refused | every item |
//! | `i batch sequence4` | what came of an item, and of all before it, numbered 1, 2, 3 … in the batch. Of a turn: between its change and the row that makes that true | an item that has ended |
//! | `j request-id` | the batch that a request made, and the request's fingerprint | if there is one |
//!
//! A branch is named after its first version.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use uuid::Uuid;

use crate::domain::{Time, change::label};

/// The row of the store itself.
pub(super) const META: [u8; 1] = *b"@";

/// The number that shows whether the newest writes are there.
pub(super) const WITNESS: [u8; 1] = *b"W";

/// Most bytes of a value; longer ones are cut. A leaf of sled holds up to 16 of them and must stay below the size at which
/// sled moves it to a file of its own, which it never syncs.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

const fn key<const N: usize>(prefix: u8) -> [u8; N] {
    let mut key = [0; N];
    key[0] = prefix;
    key
}

/// A piece of the turn at `seq` of a branch.
pub(super) fn turn(branch: Uuid, seq: u32, chunk: u16) -> [u8; 23] {
    let mut key = key(b'T');
    key[1..17].copy_from_slice(branch.as_bytes());
    key[17..21].copy_from_slice(&seq.to_be_bytes());
    key[21..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Seq and chunk of a turn's key.
pub(super) fn turn_place(key: &[u8]) -> (u32, u16) {
    let seq = key[17..21].try_into().expect("turn keys have 23 bytes");
    let chunk = key[21..23].try_into().expect("turn keys have 23 bytes");
    (u32::from_be_bytes(seq), u16::from_be_bytes(chunk))
}

fn of_one<const N: usize>(prefix: u8, id: Uuid) -> [u8; N] {
    let mut key = key(prefix);
    key[1..17].copy_from_slice(id.as_bytes());
    key
}

fn of_two(prefix: u8, first: Uuid, second: Uuid) -> [u8; 33] {
    let mut key = of_one(prefix, first);
    key[17..].copy_from_slice(second.as_bytes());
    key
}

/// The mark of a deleted turn.
pub(super) fn deleted(turn: Uuid) -> [u8; 17] {
    of_one(b'Z', turn)
}

/// A version.
pub(super) fn version(id: Uuid) -> [u8; 17] {
    of_one(b'V', id)
}

/// The prefix of all versions.
pub(super) const ALL_VERSIONS: [u8; 1] = *b"V";

/// The settings that a version introduced.
pub(super) fn settings(id: Uuid) -> [u8; 17] {
    of_one(b'S', id)
}

/// The ancestry of a branch.
pub(super) fn ancestry(branch: Uuid) -> [u8; 17] {
    of_one(b'A', branch)
}

/// The branches of a tree. A prefix.
pub(super) fn branches(root: Uuid) -> [u8; 17] {
    of_one(b'R', root)
}

/// The prefix of all branches of all trees.
pub(super) const ALL_BRANCHES: [u8; 1] = *b"R";

/// A branch of a tree; `depth` is the number of branches that it grew out of, so that parents come first.
pub(super) fn branch(root: Uuid, depth: u32, branch: Uuid) -> [u8; 37] {
    let mut key = of_one(b'R', root);
    key[17..21].copy_from_slice(&depth.to_be_bytes());
    key[21..].copy_from_slice(branch.as_bytes());
    key
}

/// Root, depth and branch of a branch's key.
pub(super) fn branch_place(key: &[u8]) -> (Uuid, u32, Uuid) {
    let root = key[1..17].try_into().expect("branch keys have 37 bytes");
    let depth = key[17..21].try_into().expect("branch keys have 37 bytes");
    (Uuid::from_bytes(root), u32::from_be_bytes(depth), last_id(key))
}

/// The branches that were opened on a version. A prefix.
pub(super) fn children(version: Uuid) -> [u8; 17] {
    of_one(b'C', version)
}

/// A branch that was opened on a version.
pub(super) fn child(version: Uuid, branch: Uuid) -> [u8; 33] {
    of_two(b'C', version, branch)
}

/// The failed turns that ran on a version. A prefix.
pub(super) fn failed_of(version: Uuid) -> [u8; 17] {
    of_one(b'E', version)
}

/// A failed turn that ran on a version.
pub(super) fn failed_on(version: Uuid, turn: Uuid) -> [u8; 33] {
    of_two(b'E', version, turn)
}

/// A piece of a turn that made no version.
pub(super) fn failed(turn: Uuid, chunk: u16) -> [u8; 19] {
    let mut key = of_one(b'F', turn);
    key[17..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// The turn of such a piece's key.
pub(super) fn failed_turn(key: &[u8]) -> Uuid {
    last_id(&key[..17])
}

/// Whether such a key is of the first piece.
pub(super) fn is_first_of_failed(key: &[u8]) -> bool {
    key[17..] == [0, 0]
}

/// What names a turn in the middle of its work.
pub(super) fn journaled(turn: Uuid) -> [u8; 17] {
    of_one(b'Y', turn)
}

/// The prefix of all turns in the middle of their work.
pub(super) const ALL_JOURNALED: [u8; 1] = *b"Y";

/// The pieces of a turn in the middle of its work. A prefix.
pub(super) fn journaled_pieces(turn: Uuid) -> [u8; 17] {
    of_one(b'I', turn)
}

/// A piece of a turn in the middle of its work.
pub(super) fn journaled_piece(turn: Uuid, place: u8, chunk: u16) -> [u8; 20] {
    let mut key = of_one(b'I', turn);
    key[17] = place;
    key[18..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// A request that was answered.
pub(super) fn request(request_id: &str) -> Vec<u8> {
    [b"K", request_id.as_bytes()].concat()
}

/// A delete that has begun.
pub(super) fn delete(version: Uuid) -> [u8; 17] {
    of_one(b'D', version)
}

/// The prefix of all deletes that have begun.
pub(super) const ALL_DELETES: [u8; 1] = *b"D";

/// What turns spend of a tree's budget. A prefix.
pub(super) fn spent_in_tree(root: Uuid) -> [u8; 17] {
    of_one(b'L', root)
}

/// What turns spend of a configured budget in a window of it. A prefix: the start comes first, so that old windows lie
/// together, and the length, so that no name is the beginning of another.
pub(super) fn spent_in_window(name: &str, start_us: i64) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [&spent_in_windows_from(start_us)[..], &length.to_be_bytes(), name.as_bytes()].concat()
}

/// Before the keys of all windows that begin at this moment or later.
pub(super) fn spent_in_windows_from(start_us: i64) -> [u8; 9] {
    of_moment(b'P', start_us)
}

/// What a turn spends of what a prefix names.
pub(super) fn spent_by(prefix: &[u8], turn: Uuid) -> Vec<u8> {
    [prefix, turn.as_bytes()].concat()
}

/// What changes about an agent.
pub(super) fn agent(id: Uuid) -> [u8; 17] {
    of_one(b'N', id)
}

/// The prefix of all agents, those that are gone too.
pub(super) const ALL_AGENTS: [u8; 1] = *b"N";

/// A piece of a version of an agent.
pub(super) fn agent_version(agent: Uuid, version: u32, chunk: u16) -> [u8; 23] {
    let mut key = of_one(b'U', agent);
    key[17..21].copy_from_slice(&version.to_be_bytes());
    key[21..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// The agent of such a piece's key.
pub(super) fn agent_of_version(key: &[u8]) -> Uuid {
    last_id(&key[..17])
}

/// An agent by its age.
pub(super) fn agent_by_age(created_at_us: i64, agent: Uuid) -> [u8; 25] {
    let mut key = of_moment(b'J', created_at_us);
    key[9..].copy_from_slice(agent.as_bytes());
    key
}

/// Before or behind an agent by its age, which [`agent_age`] cut out of its key.
pub(super) fn agent_at_age(age: [u8; 24]) -> [u8; 25] {
    let mut key = key(b'J');
    key[1..].copy_from_slice(&age);
    key
}

/// The age and the id of an agent's key.
pub(super) fn agent_age(key: &[u8]) -> [u8; 24] {
    key[1..].try_into().expect("keys of agents by age have 25 bytes")
}

/// A request that made an agent.
pub(super) fn agent_request(request_id: &str) -> Vec<u8> {
    [b"Q", request_id.as_bytes()].concat()
}

fn of_moment<const N: usize>(prefix: u8, unix_us: i64) -> [u8; N] {
    let mut key = key(prefix);
    key[1..9].copy_from_slice(&u64::try_from(unix_us).unwrap_or(0).to_be_bytes());
    key
}

/// A change.
pub(super) fn change(revision: u64) -> [u8; 9] {
    let mut key = key(b'H');
    key[1..].copy_from_slice(&revision.to_be_bytes());
    key
}

/// The prefix of all changes.
pub(super) const ALL_CHANGES: [u8; 1] = *b"H";

/// The revision of a change's key.
pub(super) fn revision(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[1..].try_into().expect("keys of changes have 9 bytes"))
}

/// How far a turn has come that outlives its call.
pub(super) fn job(turn: Uuid) -> [u8; 17] {
    of_one(b'B', turn)
}

/// The prefix of all turns that outlive their calls.
pub(super) const ALL_JOBS: [u8; 1] = *b"B";

/// What was asked of such turns, and what was seen of them: the prefixes of all that goes with a job.
pub(super) const ALL_PARTS_OF_JOBS: [[u8; 1]; 2] = [*b"b", *b"O"];

/// The turn of the key of a job, or of a part of one.
pub(super) fn job_turn(key: &[u8]) -> Uuid {
    last_id(&key[..17])
}

/// What was asked of a turn. A prefix.
pub(super) fn job_pieces(turn: Uuid) -> [u8; 17] {
    of_one(b'b', turn)
}

/// A piece of what was asked of a turn.
pub(super) fn job_piece(turn: Uuid, chunk: u16) -> [u8; 19] {
    let mut key = of_one(b'b', turn);
    key[17..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// The events of a turn that were seen. A prefix.
pub(super) fn seen_events(turn: Uuid) -> [u8; 17] {
    of_one(b'O', turn)
}

/// A piece of the events of a turn from a sequence on.
pub(super) fn seen_events_from(turn: Uuid, first: u64, chunk: u16) -> [u8; 27] {
    let mut key = of_one(b'O', turn);
    key[17..25].copy_from_slice(&first.to_be_bytes());
    key[25..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// First sequence and chunk of such a key.
pub(super) fn seen_place(key: &[u8]) -> (u64, u16) {
    let first = key[17..25].try_into().expect("keys of seen events have 27 bytes");
    let chunk = key[25..].try_into().expect("keys of seen events have 27 bytes");
    (u64::from_be_bytes(first), u16::from_be_bytes(chunk))
}

/// When a tree goes.
pub(super) fn expiry(root: Uuid) -> [u8; 17] {
    of_one(b'e', root)
}

/// A tree by when it goes.
pub(super) fn expires(at_us: i64, root: Uuid) -> [u8; 25] {
    let mut key = of_moment(b'x', at_us);
    key[9..].copy_from_slice(root.as_bytes());
    key
}

/// The moment of such a key.
pub(super) fn expires_at(key: &[u8]) -> Time {
    let us = key[1..9].try_into().expect("keys of trees by their end have 25 bytes");
    Time { unix_us: i64::try_from(u64::from_be_bytes(us)).unwrap_or(i64::MAX) }
}

/// What its maker says of an endpoint.
pub(super) fn webhook(id: Uuid) -> [u8; 17] {
    of_one(b'w', id)
}

/// The prefix of all endpoints.
pub(super) const ALL_WEBHOOKS: [u8; 1] = *b"w";

/// How far an endpoint has come.
pub(super) fn webhook_progress(id: Uuid) -> [u8; 17] {
    of_one(b'k', id)
}

/// What was sent to an endpoint; `test` is nil for what is no test.
pub(super) fn delivery(webhook: Uuid, place: u64, test: Uuid) -> [u8; 41] {
    let mut key = of_one(b'd', webhook);
    key[17..25].copy_from_slice(&place.to_be_bytes());
    key[25..].copy_from_slice(test.as_bytes());
    key
}

/// Place and test of such a key: what tells it from others of its endpoint.
pub(super) fn delivery_place(key: &[u8]) -> (u64, Uuid) {
    let place = key[17..25].try_into().expect("keys of deliveries have 41 bytes");
    (u64::from_be_bytes(place), last_id(key))
}

/// A callback.
pub(super) fn callback(revision: u64) -> [u8; 9] {
    let mut key = key(b'q');
    key[1..].copy_from_slice(&revision.to_be_bytes());
    key
}

/// A batch.
pub(super) fn batch(id: Uuid) -> [u8; 17] {
    of_one(b'g', id)
}

/// An item of a batch.
pub(super) fn batch_item(batch: Uuid, index: u32) -> [u8; 21] {
    in_batch(b'h', batch, index)
}

/// The items of a batch. A prefix.
pub(super) fn batch_items(batch: Uuid) -> [u8; 17] {
    of_one(b'h', batch)
}

/// A result of a batch.
pub(super) fn batch_result(batch: Uuid, sequence: u32) -> [u8; 21] {
    in_batch(b'i', batch, sequence)
}

/// The results of a batch. A prefix.
pub(super) fn batch_results(batch: Uuid) -> [u8; 17] {
    of_one(b'i', batch)
}

fn in_batch(prefix: u8, batch: Uuid, number: u32) -> [u8; 21] {
    let mut key = of_one(prefix, batch);
    key[17..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number that a result's key ends with.
pub(super) fn result_sequence(key: &[u8]) -> u32 {
    u32::from_be_bytes(key[17..].try_into().expect("keys of results have 21 bytes"))
}

/// A request that made a batch.
pub(super) fn batch_request(request_id: &str) -> Vec<u8> {
    [b"j", request_id.as_bytes()].concat()
}

/// A value that branches are found by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Index<'a> {
    /// A pair of the metadata.
    Pair(&'a str, &'a str),
    /// The model.
    Model(&'a str),
    /// The agent.
    Agent(&'a str),
}

/// The branches in which a value occurs (or another of the same hash: readers compare the value itself). A prefix.
pub(super) fn indexed(index: Index<'_>) -> [u8; 9] {
    let (prefix, hash) = match index {
        Index::Pair(name, value) => (b'M', label(name, value)),
        Index::Model(model) => (b'X', hashed(model)),
        Index::Agent(agent) => (b'G', hashed(agent)),
    };
    let mut key = key::<9>(prefix);
    key[1..].copy_from_slice(&hash.to_be_bytes());
    key
}

fn hashed(text: &str) -> u64 {
    // The keys of the hash are part of the format.
    let mut hash = SipHasher13::new_with_keys(0x6361_7573_6572_6965, 1);
    hash.write(text.as_bytes());
    hash.finish()
}

/// A branch in which a value occurs.
pub(super) fn indexed_in(index: Index<'_>, branch: Uuid) -> [u8; 25] {
    let mut key = [0; 25];
    key[..9].copy_from_slice(&indexed(index));
    key[9..].copy_from_slice(branch.as_bytes());
    key
}

/// The id that a key ends with.
pub(super) fn last_id(key: &[u8]) -> Uuid {
    Uuid::from_slice(&key[key.len() - 16..]).expect("16 bytes were cut")
}
