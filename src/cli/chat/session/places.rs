//! Going to other places of the tree, and showing what is there.

use std::path::Path;

use super::{
    super::{read, requests::Place, spending, text, tree},
    Session,
};
use crate::{
    cli::{Failure, export},
    proto::{Chunk, Entry, chunk, restart_request::Boundary, turn::State},
};

impl Session {
    pub(super) async fn go_to(&mut self, id: &str) -> Result<(), Failure> {
        let found = read::conversation(&mut self.client, id).await?;
        let pending = &found.pending_tool_call_ids;
        let calls =
            if pending.is_empty() { Vec::new() } else { read::calls(&mut self.client, &found.id, pending).await? };
        self.hint(&format!("{}: {} turns, {} answers", found.id, found.turn_count, found.model))?;
        self.unfinished = found.turn_state() == State::Incomplete;
        self.version = Some(found.id);
        self.model = found.model;
        self.place = None;
        self.wait_for(calls);
        if self.is_interactive() {
            self.show_calls()?;
        }
        Ok(())
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
        self.wait_for(Vec::new());
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
        for entry in read::entries(&mut self.client, &id).await? {
            let (who, said) = text::spoken(&entry);
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

    pub(super) fn choose_model(&mut self, name: Option<String>) -> Result<(), Failure> {
        match name {
            Some(name) => {
                self.hint(&format!("{name} answers from the next turn on"))?;
                self.settings.model = Some(name);
                Ok(())
            }
            None => Ok(self.screen.print(self.settings.model.as_ref().unwrap_or(&self.model))?),
        }
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
