//! Opening: whose store it is, in which format, and what a crash left behind.

use std::{
    fs::{self, File},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    Inner, Options,
    batches::Batches,
    changes::Log,
    disk::{self, Disk},
    error::{Error, OpenError},
    flush::Flusher,
    history::Row,
    keys,
    locks::Locks,
    record::{row::Part, version},
    witness::Witness,
};

/// The format that this release reads and writes.
const FORMAT: u32 = 1;

/// Names the format, for people and for releases with another engine. Written when a store is complete: from then on a
/// directory without its rows is damaged and not new.
const FORMAT_FILE: &str = "FORMAT";

const LOST_TAIL: &str =
    "its newest writes are lost; if no backup has them, remove its WITNESS file to go on without them";

/// Settings are shared by the versions of a conversation; so many bytes of them are kept decoded.
const SETTINGS_CACHE_BYTES: u64 = 16 << 20;

/// Agents lead every turn of their conversations; so many bytes of them are kept decoded.
const AGENTS_CACHE_BYTES: u64 = 16 << 20;

/// How many of the newest versions are looked at when a store is opened: whether their turns are there.
const CHECKED_VERSIONS: usize = 64;

/// Opens a store, or makes one.
pub(super) fn open(options: &Options) -> Result<Inner, OpenError> {
    let path = options.path.as_path();
    let lock = disk::lock(path)?;
    let complete = format_file(path)?;
    if complete && !disk::exists(path) {
        return Err(damaged(path, "its data file is missing"));
    }
    let disk = Disk::open(path, lock, options.cache_bytes)?;
    let tag_key = match checked(path, || disk.get(keys::META))? {
        Some(meta) => tag_key(path, &meta)?,
        None if !complete && disk.is_empty() => create(path, &disk)?,
        None => return Err(damaged(path, "the row that names its format is missing")),
    };
    if !complete {
        write_format(path)?;
    }
    let witness = checked(path, || Witness::open(path, &disk))?;
    let witness = witness.ok_or_else(|| damaged(path, LOST_TAIL))?;
    let log = Arc::new(checked(path, || Log::open(&disk, options.sync))?);
    let disk = Arc::new(disk);
    let batches = Arc::new(Batches::new(options.sync));
    let shown = (Arc::clone(&log), Arc::clone(&batches));
    let flusher = Flusher::start(Arc::clone(&disk), witness, shown, options.sync, options.min_free_bytes);
    let inner = Inner {
        disk,
        flusher: flusher.map_err(|source| OpenError::Io { path: path.to_owned(), source })?,
        log,
        batches,
        locks: Locks::new(),
        settings: moka::sync::Cache::builder()
            .max_capacity(SETTINGS_CACHE_BYTES)
            .weigher(|_, (_, bytes)| *bytes)
            .build(),
        agents: moka::sync::Cache::builder().max_capacity(AGENTS_CACHE_BYTES).weigher(|_, (_, bytes)| *bytes).build(),
        tag_key,
        commits: AtomicU64::new(0),
    };
    checked(path, || inner.check_newest())?;
    checked(path, || inner.heal())?;
    checked(path, || inner.heal_batches())?;
    if inner.log.is_ahead() {
        // Deletes that were finished now are to be seen, too.
        inner.flusher.poke();
    }
    Ok(inner)
}

fn damaged(path: &Path, text: impl ToString) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), text: text.to_string() }
}

/// The first reads of a damaged store may panic, too.
fn checked<T>(path: &Path, read: impl FnOnce() -> Result<T, Error>) -> Result<T, OpenError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| damaged(path, error)),
        Err(_) => Err(damaged(path, "sled panicked while it read")),
    }
}

/// Whether the store is complete. Read before anything is touched, so that a newer store is left alone.
fn format_file(path: &Path) -> Result<bool, OpenError> {
    let text = match fs::read_to_string(path.join(FORMAT_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    };
    let found = text.trim().parse().map_err(|_| damaged(path, "its FORMAT file is no number"))?;
    supported(path, found).map(|()| true)
}

fn supported(path: &Path, found: u32) -> Result<(), OpenError> {
    if found == FORMAT {
        return Ok(());
    }
    Err(OpenError::Format { path: path.to_owned(), found, supported: FORMAT })
}

fn tag_key(path: &Path, meta: &[u8]) -> Result<[u8; 16], OpenError> {
    let (found, tag_key) = version::decode_meta(meta).map_err(|error| damaged(path, error.0))?;
    supported(path, found).map(|()| tag_key)
}

fn create(path: &Path, disk: &Disk) -> Result<[u8; 16], OpenError> {
    let mut secret = [0; 16];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret));
    random.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let written = disk.insert(keys::META, &version::encode_meta(FORMAT, secret)).and_then(|()| disk.flush());
    written.map_err(|error| OpenError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
    Ok(secret)
}

fn write_format(path: &Path) -> Result<(), OpenError> {
    let written = disk::write_whole(path, FORMAT_FILE, &format!("{FORMAT}\n"));
    written.map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

impl Inner {
    /// The newest versions have their turns. A version is written after its turn: if one has none, the file lost its middle.
    fn check_newest(&self) -> Result<(), Error> {
        for key in self.disk.keys_of(&keys::ALL_VERSIONS).rev().take(CHECKED_VERSIONS) {
            let id = keys::last_id(&key?);
            let Some(place) = self.place(id)? else { continue };
            let row = self.row(Row::Turn(place.branch, place.seq), Part::Log)?;
            if row.is_none_or(|(head, _)| head.id != id) {
                return Err(Error::failed(format_args!("version {} has no turn", id.simple())));
            }
        }
        Ok(())
    }
}
