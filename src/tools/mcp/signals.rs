//! What a server says without being asked: how far a call is, and that its tools changed.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use tokio::sync::watch;

/// Of a message of progress. It is read by a person while it changes.
const MESSAGE_CHARS: usize = 500;

/// The signals of one connection.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Of each call that is under way the last that was said: a flood overwrites itself.
    calls: Mutex<HashMap<ProgressToken, watch::Sender<String>>>,
    listing: AtomicU64,
    pestered: AtomicBool,
}

/// The progress of a call. Dropping it ends the interest.
pub(super) struct Progress<'a> {
    pub(super) said: watch::Receiver<String>,
    signals: &'a Signals,
    token: ProgressToken,
}

impl Signals {
    /// What is said of a call from now on.
    pub(super) fn progress_of(&self, token: ProgressToken) -> Progress<'_> {
        let (sender, said) = watch::channel(String::new());
        self.calls().insert(token.clone(), sender);
        Progress { said, signals: self, token }
    }

    /// The server said how far a call is.
    pub(super) fn progressed(&self, said: ProgressNotificationParam) {
        if let Some(call) = self.calls().get(&said.progress_token) {
            call.send_replace(text(&said));
        }
    }

    /// The server said that its tools changed.
    pub(super) fn tools_changed(&self) {
        self.listing.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with each change of the tools.
    pub(super) fn listing(&self) -> u64 {
        self.listing.load(Ordering::Relaxed)
    }

    /// The server asks and does not read the answers; the connection was broken off for it.
    pub(super) fn pester(&self) {
        self.pestered.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    pub(super) fn is_pestered(&self) -> bool {
        self.pestered.load(Ordering::Relaxed)
    }

    /// No panic can leave it half changed.
    fn calls(&self) -> MutexGuard<'_, HashMap<ProgressToken, watch::Sender<String>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.signals.calls().remove(&self.token);
    }
}

/// The message, else the numbers: "3 of 10".
fn text(said: &ProgressNotificationParam) -> String {
    match (said.message.as_deref().filter(|message| !message.is_empty()), said.total) {
        (Some(message), _) => message.chars().take(MESSAGE_CHARS).collect(),
        (None, Some(total)) => format!("{} of {total}", said.progress),
        (None, None) => said.progress.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::NumberOrString;

    use super::*;

    fn said(progress: f64) -> ProgressNotificationParam {
        ProgressNotificationParam::new(ProgressToken(NumberOrString::Number(1)), progress)
    }

    #[test]
    fn the_message_counts_then_the_numbers() {
        assert_eq!(text(&said(3.0)), "3");
        assert_eq!(text(&said(3.0).with_total(10.0)), "3 of 10");
        assert_eq!(text(&said(0.5).with_total(1.0).with_message("half")), "half");
        assert_eq!(text(&said(0.5).with_message("")), "0.5");
        assert_eq!(text(&said(0.5).with_message("é".repeat(600))).chars().count(), 500);
    }

    #[test]
    fn only_calls_that_are_under_way_are_told() {
        let signals = Signals::default();
        signals.progressed(said(1.0));
        let mut progress = signals.progress_of(ProgressToken(NumberOrString::Number(1)));
        assert!(!progress.said.has_changed().expect("it is open"));
        signals.progressed(said(2.0));
        signals.progressed(said(3.0));
        assert_eq!(*progress.said.borrow_and_update(), "3", "the last one alone");
        drop(progress);
        assert!(signals.calls().is_empty());
    }
}
