//! What can go wrong with the store.

use std::{fmt, io, path::PathBuf, sync::Arc};

use crate::domain::ConversationId;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// `require_head` was asked and the parent has successors: these heads descend from it (the first of them, if they are many).
    HeadMoved(Vec<ConversationId>),
    /// The parent was deleted.
    ParentGone,
    /// The version has so many versions below it, and the delete was not forced.
    HasSuccessors(u64),
    /// No such version, or it was deleted while it was read.
    NotFound,
    /// The version exists already.
    Exists,
    /// No new turn may start: the disk has `free_bytes` left, below `floor_bytes`.
    LowSpace {
        /// What is left.
        free_bytes: u64,
        /// What must be left.
        floor_bytes: u64,
    },
    /// The changes that were asked for are kept no more; the oldest one that is has this revision.
    RevisionGone {
        /// One more than the newest if none is kept.
        oldest: u64,
    },
    /// The disk or what is on it failed. The text is for the log. After a failed write the store stays in this state until it is
    /// opened again: nothing that was acknowledged is lost.
    Failed(Arc<str>),
}

impl Error {
    /// A failure with this text.
    pub(super) fn failed(text: impl fmt::Display) -> Error {
        Error::Failed(text.to_string().into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::HeadMoved(heads) => write!(f, "the version is no longer a head; {} descend from it", heads.len()),
            Error::ParentGone => f.write_str("the version that the turn ran on was deleted"),
            Error::HasSuccessors(count) => write!(f, "{count} versions descend from it"),
            Error::NotFound => f.write_str("no such version"),
            Error::Exists => f.write_str("the version exists already"),
            Error::LowSpace { free_bytes, floor_bytes } => {
                write!(f, "the store's disk has {free_bytes} bytes left, below its floor of {floor_bytes}")
            }
            Error::RevisionGone { oldest } => write!(f, "changes before revision {oldest} are kept no more"),
            Error::Failed(text) => write!(f, "the store failed: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// Why the store was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// Its data can't be read, or some of it is gone. It was not replaced by an empty one.
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What was found.
        text: String,
    },
    /// It was written by another release.
    Format {
        /// Its directory.
        path: PathBuf,
        /// The format of its data.
        found: u32,
        /// The format that this release reads and writes.
        supported: u32,
    },
    /// The operating system refused something.
    Io {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { path } => write!(
                f,
                "the store {} is in use by another process; stop that one, or choose another directory",
                path.display()
            ),
            OpenError::Damaged { path, text } => write!(
                f,
                "the store {} is damaged: {text}. Restore a backup, or move the directory away to begin anew",
                path.display()
            ),
            OpenError::Format { path, found, supported } => write!(
                f,
                "the store {} has format {found} and this release knows format {supported}; use the release that wrote it to export it",
                path.display()
            ),
            OpenError::Io { path, .. } => write!(f, "the store {} can't be opened", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { source, .. } => Some(source),
            OpenError::InUse { .. } | OpenError::Damaged { .. } | OpenError::Format { .. } => None,
        }
    }
}
