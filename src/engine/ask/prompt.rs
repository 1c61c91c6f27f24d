//! What a model is told: the history in its provider's words, cut to its context window if the caller allows that.

use std::sync::Arc;

use super::{Asking, Miss, Next};
use crate::{
    domain::{Body, Entry, Failure, Omission, request::Truncation, sequence::Ending},
    engine::{
        failures,
        lead::Lead,
        models::Target,
        window::{self, Window},
    },
    upstream::{
        Transcript,
        estimate::{settings_bytes, weigh},
    },
};

/// Room that is left for an answer whose length the caller did not bound, in tokens.
const ROOM_TOKENS: u64 = 1024;
/// The most that a model may answer under a budget when the caller sets no max_tokens.
const BUDGETED_TOKENS: u64 = 4096;
/// What is left of a history that a provider refused as too long without saying how long it may be.
const SHRINK_PERCENT: u64 = 70;

/// What a model is told.
pub(super) struct Prompt {
    pub(super) transcript: Transcript,
    pub(super) continue_last: bool,
    /// Of text, as tokens are estimated from it.
    pub(super) bytes: u64,
    /// Entries that were left out.
    pub(super) cut: Option<Omission>,
}

impl Asking<'_> {
    /// What this model is told, as whole as it may be.
    pub(super) async fn prompt(&mut self, target: &Arc<Target>) -> Result<Prompt, Miss> {
        target.provider.check_settings(&self.led.settings, Lead::hosted(&self.led.settings)).map_err(Miss::end)?;
        let (own, known) = &self.progress.history;
        let is_whole = self.progress.outputs.len() == *known;
        let whole = if own.transcript.is_for(&target.provider, Lead::form(&self.led.settings)) && is_whole {
            Prompt {
                transcript: own.transcript.clone(),
                continue_last: own.ending == Ending::Unfinished,
                bytes: own.bytes + settings_bytes(&self.led.settings),
                cut: None,
            }
        } else {
            let entries = self.entries().await.map_err(Miss::end)?;
            self.encode(target, &entries, None)?
        };
        let Some(window) = self.shared.models.context_tokens(target) else { return Ok(whole) };
        let needed = target.estimator.estimate(whole.bytes);
        // A guess refuses nothing: only what can't fit is refused before the provider is asked.
        match self.plan.forwarding.truncation {
            Truncation::DropOldest if needed.tokens + self.room(window) > window => {
                let shorter = self.window(target, window).await?;
                if shorter.is_none() && needed.at_least > window {
                    return Err(self.too_long(target, needed.tokens, window));
                }
                Ok(shorter.unwrap_or(whole))
            }
            Truncation::Off if needed.at_least > window => Err(self.too_long(target, needed.tokens, window)),
            Truncation::Off | Truncation::DropOldest => Ok(whole),
        }
    }

    /// A shorter prompt than one that the provider refused, if the caller allows that and there is one.
    pub(super) async fn shorter(
        &mut self,
        target: &Arc<Target>,
        refused: &Prompt,
        failure: &Failure,
    ) -> Option<Prompt> {
        if self.plan.forwarding.truncation == Truncation::Off {
            return None;
        }
        let told = failure.metadata.iter().find(|(key, _)| key == "context_tokens");
        let told: Option<u64> = told.and_then(|(_, value)| value.parse().ok());
        let refused_tokens = target.estimator.estimate(refused.bytes).tokens;
        let shrunk = refused_tokens.saturating_mul(SHRINK_PERCENT) / 100;
        let window = told.map_or(shrunk, |told| told.min(shrunk));
        let shorter = self.window(target, window).await.ok()??;
        (shorter.bytes < refused.bytes).then_some(shorter)
    }

    /// The newest part of the history that is likely to fit so many tokens; `None`: nothing can be left out that way.
    async fn window(&mut self, target: &Arc<Target>, window: u64) -> Result<Option<Prompt>, Miss> {
        let entries = self.entries().await.map_err(Miss::end)?;
        let estimate = |bytes| target.estimator.estimate(bytes).tokens;
        let tokens: Vec<u64> = weigh(&entries).into_iter().map(estimate).collect();
        let settings = estimate(settings_bytes(&self.led.settings));
        // If what must stay leaves no room for the answer that was asked for, the answer is what gets shorter.
        let rooms = [self.room(window), 0].map(|room| window.saturating_sub(settings + room));
        let kept = rooms.into_iter().find_map(|available| window::cut(&entries, &tokens, available));
        match kept {
            Some(Window { kept, omission: Some(omission) }) => self.encode(target, &kept, Some(omission)).map(Some),
            Some(Window { kept: _, omission: None }) | None => Ok(None),
        }
    }

    /// Tokens that the answer needs of the window.
    fn room(&self, window: u64) -> u64 {
        let asked = self.led.settings.completion_args.max_tokens.map(u64::from);
        asked.unwrap_or(ROOM_TOKENS.min(window / 4))
    }

    /// The most that the model may answer under a budget when the caller sets no bound: what is likely left of its window.
    /// Servers refuse what would not fit with the prompt.
    pub(super) fn budgeted_tokens(&self, target: &Target, prompt_at_most: u64) -> u32 {
        let window = self.shared.models.context_tokens(target);
        let room = window.map(|window| window.saturating_sub(prompt_at_most).max(self.room(window)));
        let tokens = room.map_or(BUDGETED_TOKENS, |room| room.clamp(1, BUDGETED_TOKENS));
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    fn too_long(&self, target: &Target, tokens: u64, window: u64) -> Miss {
        let truncation = self.plan.forwarding.truncation;
        Miss { next: Next::Shorten, ..Miss::end(failures::too_long(&target.name, tokens, window, truncation)) }
    }

    fn encode(&self, target: &Target, entries: &[Arc<Entry>], cut: Option<Omission>) -> Result<Prompt, Miss> {
        let transcript = target.provider.encode_for(Lead::form(&self.led.settings), entries).map_err(Miss::end)?;
        let last: Option<&Body> = entries.last().map(|entry| &entry.body);
        let bytes = weigh(entries).iter().sum::<u64>() + settings_bytes(&self.led.settings);
        let continue_last = crate::domain::sequence::ending(last) == Ending::Unfinished;
        Ok(Prompt { transcript, continue_last, bytes, cut })
    }

    /// The history with the turn's inputs and what has come out so far.
    async fn entries(&mut self) -> Result<Vec<Arc<Entry>>, Failure> {
        if self.progress.entries.is_none() {
            let (shared, parent, kept) = (self.shared.clone(), self.plan.parent.clone(), self.plan.kept);
            let read = move || match &parent {
                Some(parent) => shared.store.history(parent, kept).map_err(failures::store),
                None => Ok(Vec::new()),
            };
            self.progress.entries = Some(self.shared.blocking(read).await??);
        }
        let history = self.progress.entries.iter().flatten().chain(self.plan.inputs.iter()).cloned();
        Ok(history.chain(self.progress.outputs.so_far()).collect())
    }
}
