//! A plain model of all turns, made by calls as they come, and compared with what ListTurns says.

use std::collections::BTreeMap;

use causerie::proto::{self, turn::State};

use super::{cancel, for_tomorrow, from_now, queue, silent_turn};
use crate::support::{
    events::Reader,
    provider::Reply,
    random::Dice,
    refusal::value,
    server::{Client, TestServer, append, start},
};

/// What is known of a turn.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) state: State,
    /// The first version of its tree; `None`: it would have begun one, and failed.
    pub(super) root: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Known {
    /// When it was accepted, in milliseconds: its id says so.
    pub(super) fn ms(&self) -> i64 {
        i64::from_str_radix(&self.id["turn_".len()..][..12], 16).expect("hex digits")
    }

    fn fits(&self, filter: &proto::ListTurnsRequest, root: Option<&String>) -> bool {
        let proto::ListTurnsRequest { states, metadata, created_after, created_before, .. } = filter;
        let time = |bound: &prost_types::Timestamp| bound.seconds * 1000 + i64::from(bound.nanos / 1_000_000);
        (states.is_empty() || states.contains(&self.state.into()))
            && (root.is_none() || self.root.as_ref() == root)
            && metadata.iter().all(|(key, value)| self.root.is_some() && self.metadata.get(key) == Some(value))
            && created_after.as_ref().is_none_or(|bound| self.ms() >= time(bound))
            && created_before.as_ref().is_none_or(|bound| self.ms() < time(bound))
    }
}

/// All turns of a server, in the order in which they were accepted.
pub(super) struct Model {
    pub(super) turns: Vec<Known>,
    /// Versions to go on from.
    versions: Vec<(String, Known)>,
    readers: Vec<Reader>,
}

const FAILING: &str = "failing-model";
const MOST_RUNNING: usize = 5;

impl Model {
    pub(super) fn new(server: &TestServer) -> Model {
        let refusal = serde_json::json!({"object": "error", "message": "no", "type": "invalid_request_error"});
        server.provider.on_model(FAILING, [Reply::json(400, &refusal)]);
        Model { turns: Vec::new(), versions: Vec::new(), readers: Vec::new() }
    }

    /// The ids of the turns that fit, newest first. `root`: of the tree that the filter names.
    pub(super) fn listed(&self, filter: &proto::ListTurnsRequest, root: Option<&String>) -> Vec<String> {
        let mut fit: Vec<_> = self.turns.iter().filter(|turn| turn.fits(filter, root)).collect();
        fit.sort_by(|one, other| other.id.cmp(&one.id));
        fit.into_iter().map(|turn| turn.id.clone()).collect()
    }

    /// Lets something happen.
    pub(super) async fn step(&mut self, dice: &mut Dice, server: &TestServer, client: &mut Client) {
        let parent = (!self.versions.is_empty() && !dice.one_in(3)).then(|| dice.pick(&self.versions).clone());
        match dice.below(9) {
            0..=3 => self.complete(dice, client, parent).await,
            4 => self.fail(dice, client, parent).await,
            5 | 6 => self.queue(dice, client, parent).await,
            7 => self.cancel_one(dice, client).await,
            _ if self.readers.len() < MOST_RUNNING => {
                let (reader, id) = silent_turn(server, client).await;
                // A model is asked from then on.
                while server.provider.next_request().await.json["model"] == FAILING {}
                self.readers.push(reader);
                self.note(&id, State::Running, None, BTreeMap::new());
            }
            _ => {}
        }
    }

    /// Lets no turn run any more.
    pub(super) async fn settle(&mut self, client: &mut Client) {
        for turn in self.turns.iter_mut().filter(|turn| turn.state == State::Running) {
            cancel(client, &turn.id).await;
            // It would have begun a tree.
            (turn.state, turn.root) = (State::Cancelled, None);
        }
        self.readers.clear();
    }

    async fn complete(&mut self, dice: &mut Dice, client: &mut Client, parent: Option<(String, Known)>) {
        let skip_completion = true;
        let (turn, metadata) = match &parent {
            Some((id, _)) => {
                let request = proto::AppendRequest { skip_completion, ..append(id, "more") };
                (client.append(request).await, BTreeMap::new())
            }
            None => {
                let metadata = some_metadata(dice);
                let request = proto::StartRequest { skip_completion, metadata: metadata.clone(), ..start("new") };
                (client.start(request).await, metadata)
            }
        };
        let turn = turn.expect("it is stored").into_inner();
        let known = self.note(&turn.id, State::Completed, parent.as_ref(), metadata);
        self.versions.push((turn.conversation_id, known));
    }

    async fn fail(&mut self, dice: &mut Dice, client: &mut Client, parent: Option<(String, Known)>) {
        let model = FAILING.to_owned();
        let failed = match &parent {
            Some((id, _)) => client.append(proto::AppendRequest { model, ..append(id, "more") }).await,
            None => {
                let metadata = some_metadata(dice);
                client.start(proto::StartRequest { model, metadata, ..start("new") }).await
            }
        };
        let id = value(&failed.expect_err("the provider refuses it"), "turn_id");
        let known = self.note(&id, State::Failed, parent.as_ref(), BTreeMap::new());
        self.of_no_tree(&known, parent.is_none());
    }

    async fn queue(&mut self, dice: &mut Dice, client: &mut Client, parent: Option<(String, Known)>) {
        let (id, metadata) = match &parent {
            Some((id, _)) => {
                let options = proto::BackgroundOptions { not_before: Some(from_now(9000)), ..Default::default() };
                let background = (true, Some(options));
                let request = proto::AppendRequest {
                    background: background.0,
                    background_options: background.1,
                    ..append(id, "later")
                };
                (client.append(request).await.expect("it is queued").into_inner().id, BTreeMap::new())
            }
            None => {
                let metadata = some_metadata(dice);
                let request = proto::StartRequest { metadata: metadata.clone(), ..for_tomorrow("later") };
                (queue(client, request).await, metadata)
            }
        };
        self.note(&id, State::Queued, parent.as_ref(), metadata);
    }

    async fn cancel_one(&mut self, dice: &mut Dice, client: &mut Client) {
        let waiting: Vec<_> = self.turns.iter().filter(|turn| turn.state == State::Queued).cloned().collect();
        if waiting.is_empty() {
            return;
        }
        let known = dice.pick(&waiting);
        cancel(client, &known.id).await;
        let begins = known.root == Some(known.id.replace("turn_", "conv_"));
        let turn = self.turns.iter_mut().find(|turn| turn.id == known.id).expect("it is known");
        turn.state = State::Cancelled;
        self.of_no_tree(&known.clone(), begins);
    }

    fn of_no_tree(&mut self, known: &Known, begins: bool) {
        let turn = self.turns.iter_mut().find(|turn| turn.id == known.id).expect("it is known");
        if begins {
            turn.root = None;
        }
    }

    fn note(
        &mut self,
        id: &str,
        state: State,
        parent: Option<&(String, Known)>,
        metadata: BTreeMap<String, String>,
    ) -> Known {
        let known = match parent {
            Some((_, known)) => Known { id: id.to_owned(), state, ..known.clone() },
            None => Known { id: id.to_owned(), state, root: Some(id.replace("turn_", "conv_")), metadata },
        };
        self.turns.push(known.clone());
        known
    }
}

pub(super) fn some_metadata(dice: &mut Dice) -> BTreeMap<String, String> {
    let keys = ["user", "topic"].into_iter().filter(|_| dice.one_in(2)).collect::<Vec<_>>();
    keys.into_iter().map(|key| (key.to_owned(), dice.pick(&["ann", "bob"]).to_string())).collect()
}
