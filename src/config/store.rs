use std::path::PathBuf;

use super::{reader::Reader, rule::Rule};

/// Where conversations are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The directory of the database. Made if it does not exist.
    pub path: PathBuf,
    /// Memory for the database's pages.
    pub cache_bytes: u64,
    /// Whether a turn is acknowledged only after it is on disk.
    pub sync: bool,
    /// New turns are refused when the disk has less room than this.
    pub min_free_bytes: u64,
}

impl Store {
    pub(super) fn read(from: &mut Reader<'_>) -> Store {
        Store {
            path: from.get(
                "store.path",
                Rule::path(),
                "./causerie-data",
                "The directory that conversations are kept in. Made if it does not exist; one process at a time.",
            ),
            cache_bytes: from.get(
                "store.cache_mib",
                Rule::mib(16..=1_048_576),
                "256",
                "Memory for the store's pages, in MiB.",
            ),
            sync: from.get(
                "store.sync",
                Rule::switch(),
                "true",
                "Acknowledge a turn only after it is on disk. False is faster; a killed process may then lose the last \
                 half second, a crash of the machine more.",
            ),
            min_free_bytes: from.get(
                "store.min_free_mib",
                Rule::mib(0..=1_048_576),
                "256",
                "Refuse new turns when the disk has fewer MiB free, so that running ones can still be stored.",
            ),
        }
    }
}
