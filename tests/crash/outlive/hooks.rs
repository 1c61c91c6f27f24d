//! A receiver of webhooks that outlives the server, and does not take everything at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use causerie::proto::{
    self, ChangeFilter, ChangeKind, CreateWebhookRequest, Webhook, WebhookPayload, create_webhook_request::Start,
    webhook_service_client::WebhookServiceClient,
};

use super::{known::Accepted, watch::ends_turn};
use crate::support::{
    events::soon,
    process::{Flags, Process},
    provider::{Captured, Reply, ScriptedProvider},
};

/// What is told there, by path.
const ENDS: &str = "/ends";
const WHOLE: &str = "/whole";
const STEPS: &str = "/steps";
const CALLBACK: &str = "/callback";

/// What [`STEPS`] is told.
const STEP_KINDS: [ChangeKind; 4] =
    [ChangeKind::TurnQueued, ChangeKind::TurnStarted, ChangeKind::TurnRequeued, ChangeKind::VersionCreated];

/// Takes most of what comes, at the first or a later attempt.
pub(super) async fn receiver() -> ScriptedProvider {
    let receiver = ScriptedProvider::start().await;
    let taken = || Reply::plain(200, "text/plain", "thanks");
    let refused = Reply::plain(500, "text/plain", "not now");
    receiver.on_every_in_turn([taken(), taken(), refused, taken(), taken(), taken(), Reply::hang_up()]);
    receiver
}

/// What the server needs for them.
pub(super) fn configure(flags: &mut Flags, folder: &Path) {
    let secret = folder.join("callback-secret");
    std::fs::write(&secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a writable folder");
    flags.insert("--webhooks-callback-secret-file", secret.display().to_string());
    // What failed is tried again at once.
    flags.insert("--webhooks-backoff-base", "1ms".to_owned());
    flags.insert("--webhooks-backoff-max", "5ms".to_owned());
}

/// Where the ends of turns are told that come with it.
pub(super) fn callback(receiver: &ScriptedProvider) -> String {
    format!("{}{CALLBACK}", receiver.base_url())
}

/// Makes the endpoints.
pub(super) async fn create(process: &Process, receiver: &ScriptedProvider) {
    let mut client = WebhookServiceClient::new(process.channel().await);
    let steps = ChangeFilter { kinds: STEP_KINDS.map(i32::from).to_vec(), ..ChangeFilter::default() };
    let endpoints = [
        (ENDS, Webhook::default()),
        (WHOLE, Webhook { payload: WebhookPayload::Full.into(), ..Webhook::default() }),
        (STEPS, Webhook { filter: Some(steps), ..Webhook::default() }),
    ];
    for (path, webhook) in endpoints {
        let webhook = Webhook { url: format!("{}{path}", receiver.base_url()), ..webhook };
        let request = CreateWebhookRequest { webhook: Some(webhook), start: Some(Start::FromOldest(true)) };
        client.create_webhook(request).await.expect("a webhook");
    }
}

/// Waits until everything has arrived that is due: under one id each, and in order within a tree. How many attempts it took.
pub(super) async fn arrived(
    receiver: &ScriptedProvider,
    changes: &[proto::Change],
    accepted: &BTreeMap<String, Accepted>,
) -> usize {
    let due = due(changes, accepted);
    let mut missing: BTreeSet<(String, i64)> = due
        .iter()
        .flat_map(|(path, revisions)| revisions.iter().map(|revision| ((*path).to_owned(), *revision)))
        .collect();
    while !missing.is_empty() {
        let request = soon(receiver.next_request()).await;
        missing.remove(&(request.path.clone(), revision_of(&request)));
    }
    let requests = receiver.requests();
    one_id_each(&requests);
    let by_revision: BTreeMap<i64, &proto::Change> = changes.iter().map(|change| (change.revision, change)).collect();
    for path in [ENDS, WHOLE, STEPS] {
        let told = requests.iter().filter(|request| request.path == path).map(revision_of);
        let told: Vec<i64> = first_of_each(told);
        assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), due[path], "{path}");
        in_order(&told, &by_revision);
    }
    let ends: BTreeSet<i64> = changes.iter().filter(|change| ends_turn(change)).map(|change| change.revision).collect();
    let called = requests.iter().filter(|request| request.path == CALLBACK).map(revision_of);
    // Of turns whose acceptance nobody was told it is not known here whether they have a callback.
    assert!(called.collect::<BTreeSet<_>>().is_subset(&ends), "callbacks tell ends");
    requests.len()
}

/// The revisions that are told, by path.
fn due(changes: &[proto::Change], accepted: &BTreeMap<String, Accepted>) -> BTreeMap<&'static str, BTreeSet<i64>> {
    let revisions = |wanted: &dyn Fn(&&proto::Change) -> bool| {
        changes.iter().filter(wanted).map(|change| change.revision).collect::<BTreeSet<_>>()
    };
    let is_end = |change: &&proto::Change| ends_turn(change) || change.kind() == ChangeKind::BatchEnded;
    let called = |change: &&proto::Change| {
        ends_turn(change) && accepted.get(&change.turn_id).is_some_and(|accepted| accepted.callback)
    };
    [
        (ENDS, revisions(&is_end)),
        (WHOLE, revisions(&is_end)),
        (STEPS, revisions(&|change| STEP_KINDS.contains(&change.kind()))),
        (CALLBACK, revisions(&called)),
    ]
    .into()
}

fn revision_of(request: &Captured) -> i64 {
    let revision = request.json["data"]["revision"].as_str().and_then(|text| text.parse().ok());
    revision.unwrap_or_else(|| panic!("no revision in {}", request.json))
}

fn one_id_each(requests: &[Captured]) {
    let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut ids: BTreeMap<(&str, i64), &str> = BTreeMap::new();
    for request in requests {
        let id = request.header("webhook-id").expect("an id");
        assert_eq!(*ids.entry((&request.path, revision_of(request))).or_insert(id), id, "told under two ids");
        let first = *bodies.entry(id).or_insert(&request.raw);
        assert_eq!(String::from_utf8_lossy(first), String::from_utf8_lossy(&request.raw), "{id}");
    }
}

fn first_of_each(told: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    told.filter(|revision| seen.insert(*revision)).collect()
}

fn in_order(told: &[i64], changes: &BTreeMap<i64, &proto::Change>) {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let of_trees = told.iter().filter(|revision| !changes[revision].root_id.is_empty());
    for revision in of_trees {
        let root = &changes[revision].root_id;
        let before = newest.insert(root, *revision);
        assert!(before.is_none_or(|before| before < *revision), "{root}: {revision} after {before:?}");
    }
}
