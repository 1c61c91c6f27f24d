//! Conversations that are stored without asking a model.

use causerie::proto::{AppendRequest, Chunk, Entry, MessageInput, MessageOutput, Role, StartRequest, chunk, entry};

use crate::{
    Result,
    load::{
        direct::Body,
        grpc::{self, Client},
    },
    text,
};

/// A conversation that grows, and what its next question will be sent along with.
#[derive(Debug)]
pub(crate) struct Growing {
    client: Client,
    /// Its newest version.
    pub(crate) version: String,
    /// Its turns.
    pub(crate) turns: usize,
    /// Its history as the provider is sent it.
    pub(crate) body: Body,
}

impl Growing {
    /// One without turns.
    pub(crate) fn new(client: Client) -> Growing {
        Growing { client, version: String::new(), turns: 0, body: Body::default() }
    }

    /// Stores one exchange after the other, each as a turn of its own, until there are so many.
    pub(crate) async fn grow_to(&mut self, turns: usize) -> Result<()> {
        while self.turns < turns {
            let (question, answer) = (question(self.turns), answer(self.turns));
            self.body.push("user", &question);
            self.body.push("assistant", &answer);
            let inputs = exchange(question, answer);
            let turn = if self.turns == 0 {
                self.client.start(import(inputs)).await?
            } else {
                let request = AppendRequest { inputs, skip_completion: true, ..AppendRequest::default() };
                let conversation_id = std::mem::take(&mut self.version);
                self.client.append(AppendRequest { conversation_id, ..request }).await?
            };
            self.version = grpc::completed(turn.into_inner())?.conversation_id;
            self.turns += 1;
        }
        Ok(())
    }

    /// Asks a question and gives the answer's text.
    pub(crate) async fn ask(&mut self, question: String) -> Result<String> {
        let request = grpc::append(std::mem::take(&mut self.version), question);
        let turn = grpc::completed(self.client.append(request).await?.into_inner())?;
        self.turns += 1;
        let answer = grpc::answer(&turn).ok_or("a turn without an answer")?.to_owned();
        self.version = turn.conversation_id;
        Ok(answer)
    }
}

/// A model whose context window nobody knows: histories grow past those of real ones.
const BOUNDLESS: &str = "boundless";

/// A Start that stores these and asks no model.
pub(crate) fn import(inputs: Vec<Entry>) -> StartRequest {
    StartRequest { model: BOUNDLESS.to_owned(), inputs, skip_completion: true, ..StartRequest::default() }
}

/// A question and its answer as entries.
pub(crate) fn exchange(question: String, answer: String) -> Vec<Entry> {
    let content = |text| vec![Chunk { kind: Some(chunk::Kind::Text(text)) }];
    let entry = |kind| Entry { kind: Some(kind), ..Entry::default() };
    let input = MessageInput { role: Role::User.into(), content: content(question), prefix: false };
    let output = MessageOutput { content: content(answer), ..MessageOutput::default() };
    vec![entry(entry::Kind::MessageInput(input)), entry(entry::Kind::MessageOutput(output))]
}

/// A question of 100 B to 2 KB.
pub(crate) fn question(index: usize) -> String {
    text::words(1_000 + (index % text::MIXED) as u64, text::mixed_length(index))
}

/// An answer of 100 B to 2 KB, not of its question's length.
pub(crate) fn answer(index: usize) -> String {
    text::words(2_000 + (index % text::MIXED) as u64, text::mixed_length(index + 5))
}
