//! Going to other places of the tree, and showing what is there.

use std::path::Path;

use super::{
    super::{pending::Pending, read, requests::Place, spending, text, tree},
    Ending, Session,
};
use crate::{
    cli::{Failure, export},
    proto::{Chunk, Conversation, Entry, chunk, restart_request::Boundary, turn::State},
};

impl Session {
    pub(super) async fn go_to(&mut self, id: &str) -> Result<(), Failure> {
        let found = read::conversation(&mut self.client, id).await?;
        let waits = self.waiting(&found).await?;
        self.led_by_version(&found).await;
        self.hint(&format!("{}: {} turns, {} answers", found.id, found.turn_count, self.who()))?;
        self.version = Some(found.id);
        self.place = None;
        (self.pending, self.ending) = waits;
        if self.is_interactive() {
            self.show_what_waits()?;
        }
        Ok(())
    }

    /// The calls that wait at a version, and how it ends.
    async fn waiting(&mut self, version: &Conversation) -> Result<(Pending, Ending), Failure> {
        let ids = &version.pending_tool_call_ids;
        let calls = if ids.is_empty() { Vec::new() } else { read::calls(&mut self.client, &version.id, ids).await? };
        let ending = match version.turn_state() {
            State::Incomplete => Ending::CutOff,
            State::RequiresAction if ids.is_empty() => {
                let last = read::last_entry(&mut self.client, &version.id).await?;
                last.as_ref().map_or(Ending::Whole, Ending::of_handoff)
            }
            _ => Ending::Whole,
        };
        Ok((Pending::new(calls), ending))
    }

    /// The next message takes the place of a question, or comes after some other entry.
    pub(super) async fn go_back(&mut self, what: &str) -> Result<(), Failure> {
        let id = self.existing()?.to_owned();
        let entries = read::entries(&mut self.client, &id).await?;
        let number: Option<usize> = what.parse().ok();
        let mut questions = entries.iter().filter(|entry| text::question(entry).is_some());
        let found = match number {
            Some(number) => number.checked_sub(1).and_then(|skipped| questions.nth(skipped)),
            None => entries.iter().find(|entry| entry.id == what),
        };
        let Some(entry) = found else {
            return Err(
                Failure::new(format!("this version has no question {what}")).note("/history shows what it has.")
            );
        };
        self.place =
            Some(text::question(entry).map_or_else(|| after(entry), |message| before(entry, &message.content)));
        self.pending = Pending::default();
        self.hint("the next message goes there; Ctrl-C leaves it as it was")
    }

    pub(super) async fn branch(&mut self, what: &str) -> Result<(), Failure> {
        let Some(id) = self.version.clone() else { return self.go_to(what).await };
        let versions = read::versions(&mut self.client, &id).await?;
        let numbered = what.parse::<usize>().ok().and_then(|number| versions.get(number.checked_sub(1)?));
        let mut ending = versions.iter().filter(|version| version.id.ends_with(what));
        let found = match (numbered, ending.next(), ending.next()) {
            (Some(version), _, _) | (None, Some(version), None) => version.id.clone(),
            (None, Some(_), Some(_)) => return Err(Failure::new(format!("several versions end in {what}"))),
            // Perhaps one of another conversation.
            (None, None, _) if what.starts_with("conv_") => what.to_owned(),
            (None, None, _) => {
                return Err(
                    Failure::new(format!("there is no version {what}")).note("/versions shows which there are.")
                );
            }
        };
        self.go_to(&found).await
    }

    pub(super) async fn show_history(&mut self) -> Result<(), Failure> {
        let id = self.existing()?.to_owned();
        let mut question = 0;
        let entries = read::entries(&mut self.client, &id).await?;
        entries.iter().for_each(|entry| text::learn(&mut self.names, entry));
        for entry in entries {
            let (who, said) = text::spoken(&entry, &self.names);
            let mut number = String::new();
            if text::question(&entry).is_some() {
                question += 1;
                number = format!("[{question}] ");
            }
            self.screen.print(&format!("{number}{who} ({})\n{said}\n", entry.id))?;
        }
        Ok(())
    }

    pub(super) async fn show_versions(&mut self) -> Result<(), Failure> {
        let id = self.existing()?.to_owned();
        let versions = read::versions(&mut self.client, &id).await?;
        let nodes = read::tree(&self.client, &versions, &id).await?;
        Ok(self.screen.print(tree::draw(&nodes).trim_end())?)
    }

    pub(super) async fn show_models(&mut self) -> Result<(), Failure> {
        let listed = read::models(&mut self.models).await?;
        for provider in listed.providers.iter().filter(|provider| !provider.error.is_empty()) {
            self.screen.note(&format!("{} did not list its models: {}", provider.name, provider.error))?;
        }
        Ok(self.screen.print(&spending::models(&listed.models))?)
    }

    pub(super) async fn show_cost(&mut self) -> Result<(), Failure> {
        let id = self.existing()?.to_owned();
        let version = read::conversation(&mut self.client, &id).await?;
        Ok(self.screen.print(&spending::conversation(&version))?)
    }

    pub(super) async fn save(&mut self, path: &Path) -> Result<(), Failure> {
        let id = self.existing()?.to_owned();
        let count = export::to_file(&mut self.client, id, path, false).await?;
        Ok(self.screen.note(&format!("{} holds {count} versions", path.display()))?)
    }
}

/// Going on after an entry.
pub(super) fn after(entry: &Entry) -> Place {
    let boundary = Boundary::AfterEntry;
    Place { entry_id: entry.id.clone(), boundary, text: String::new(), attachments: Vec::new() }
}

/// Putting something else in the place of a question.
fn before(entry: &Entry, content: &[Chunk]) -> Place {
    let is_text = |chunk: &&Chunk| matches!(chunk.kind, Some(chunk::Kind::Text(_)));
    let (texts, attachments): (Vec<&Chunk>, Vec<&Chunk>) = content.iter().partition(is_text);
    let text = texts.into_iter().map(text::chunk_text).collect();
    let attachments = attachments.into_iter().cloned().collect();
    Place { entry_id: entry.id.clone(), boundary: Boundary::BeforeEntry, text, attachments }
}
