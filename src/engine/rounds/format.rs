//! Structured output: only the message that a turn ends with has to fit, and a model that misses it is told once how.

use std::sync::Arc;

use serde_json::Value;

use super::Rounds;
use crate::{
    domain::{
        Body, Chunk, EntryDraft, EventKind, Failure, Reason,
        entry::{MessageInput, Role},
    },
    engine::ids,
};

impl Rounds<'_> {
    /// Has an answer mended that does not fit. False: it fits, or nobody wants to know.
    pub(super) fn mend(&mut self) -> Result<bool, Failure> {
        let Some(why) = self.misfit() else { return Ok(false) };
        if self.mended {
            let text = format!("the answer does not fit the schema of response_format, nor did the one before: {why}");
            return Err(Failure::new(Reason::ResponseFormatMismatch, text));
        }
        self.mended = true;
        let now = ids::now();
        let text = format!(
            "Your answer does not fit the JSON Schema that was asked for: {why}. Answer again, with nothing but JSON that fits."
        );
        let message = MessageInput { role: Role::System, content: vec![Chunk::Text(text)], prefix: false };
        let entry = EntryDraft::new(Body::MessageInput(message)).into_entry(ids::entry_uuid(), now);
        let entry = Arc::new(entry);
        // It takes a place among the outputs.
        self.progress.assembler.next_output();
        self.progress.outputs.push(entry.clone());
        self.live.log.push(now, [EventKind::EntryDone { entry }]);
        self.absorb()?;
        Ok(true)
    }

    /// Why the answer does not fit. It never quotes the answer.
    fn misfit(&self) -> Option<String> {
        let format = self.led.format.as_ref()?;
        let last = self.progress.outputs.so_far().last()?;
        let Body::MessageOutput(message) = &last.body else { return None };
        let texts = message.content.iter().filter_map(|chunk| match chunk {
            Chunk::Text(text) => Some(text.as_str()),
            _ => None,
        });
        match serde_json::from_str::<Value>(&texts.collect::<String>()) {
            Ok(value) => format.check(&value).err(),
            Err(error) => Some(format!("it is no JSON: {error}")),
        }
    }
}
