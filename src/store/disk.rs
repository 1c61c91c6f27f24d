//! sled, and what it takes to make it durable. No other file speaks of it.
//!
//! sled 0.34.7 is chosen and pinned by measurement. As it comes, its `flush` does not sync, a kill during recovery leaves a torn
//! snapshot that stops the next open, large values go to files that are never synced, and it panics on damage. Each measure
//! below is the cure of one of these. Not to be used anywhere: `apply_batch`, `transaction` (they couple every read to the
//! disk through one process-wide lock), `flush_async`, `watch_prefix` (they hang).

use std::{
    fs::{self, File, TryLockError},
    io,
    ops::RangeBounds,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::error::{Error, OpenError};

/// A row's value. Cheap to clone.
pub(super) type Value = sled::IVec;

/// A leaf of 16 chunks of 64 KiB stays below the limit that goes with this, 4 MiB: nothing ever goes to an unsynced blob
/// file. Fixed when a store is made.
const SEGMENT_BYTES: usize = 16 << 20;

/// The file that sled writes its log to.
const LOG: &str = "db";

/// Held while the store is open. sled takes its own lock only after it has begun to work.
const LOCK: &str = "lock";

/// How long sled's own lock may outlive its handle. Ours is free by then, so no other process is waited for.
const LOCK_LINGERS: Duration = Duration::from_secs(2);

/// Prefix of sled's snapshots, which only speed up recovery.
const SNAPSHOT: &str = "snap.";

/// Prefix of snapshots that were set aside.
const ASIDE: &str = "aside.";

/// An open sled.
#[derive(Debug)]
pub(super) struct Disk {
    // Before the lock: fields are dropped in this order.
    db: sled::Db,
    log: File,
    path: PathBuf,
    _lock: File,
    /// All writes in their order: what a crash leaves is the rows of some beginning of it.
    #[cfg(test)]
    pub(super) writes: std::sync::Mutex<Vec<Write>>,
}

/// A key, and its value unless it was removed.
#[cfg(test)]
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Error {
        Error::failed(error)
    }
}

/// The lock of a store's directory, which is made if it is missing.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io)?;
    let file = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Whether sled has been at work in a directory.
pub(super) fn exists(path: &Path) -> bool {
    path.join(LOG).exists()
}

impl Disk {
    /// Opens sled in a directory that is locked.
    pub(super) fn open(path: &Path, lock: File, cache_bytes: u64) -> Result<Disk, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        // A kill during recovery leaves a torn one, and the next open would take it for the newest snapshot.
        for torn in files(path, |name| name.starts_with(SNAPSHOT) && name.ends_with(".generating")).map_err(io)? {
            fs::remove_file(torn).map_err(io)?;
        }
        let db = match unlocked(path, cache_bytes) {
            Ok(db) => db,
            Err(Refused::Locked) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(Refused::Broken(text)) => without_snapshots(path, cache_bytes, &text)?,
        };
        sync_all(path).map_err(io)?;
        let log = File::open(path.join(LOG)).map_err(io)?;
        Ok(Disk {
            db,
            log,
            path: path.to_owned(),
            _lock: lock,
            #[cfg(test)]
            writes: Default::default(),
        })
    }

    /// The value of a key.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        Ok(self.db.get(key)?)
    }

    /// Whether a key exists.
    pub(super) fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.db.contains_key(key)?)
    }

    /// Writes a row. It is durable after the next [`Disk::flush`], and not before any row that was written before it.
    pub(super) fn insert(&self, key: impl AsRef<[u8]>, value: &[u8]) -> Result<(), Error> {
        #[cfg(test)]
        self.note(key.as_ref(), Some(value));
        self.db.insert(key, value)?;
        Ok(())
    }

    /// Removes a row, if it exists.
    pub(super) fn remove(&self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        #[cfg(test)]
        self.note(key.as_ref(), None);
        self.db.remove(key)?;
        Ok(())
    }

    #[cfg(test)]
    fn note(&self, key: &[u8], value: Option<&[u8]>) {
        let mut writes = self.writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }

    /// Rows in the order of their keys; may be read from both ends.
    pub(super) fn range<K: AsRef<[u8]>>(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = Result<(Value, Value), Error>> {
        self.db.range(range).map(|row| Ok(row?))
    }

    /// The keys that begin so, in order; may be read from both ends.
    pub(super) fn keys_of(&self, prefix: &[u8]) -> impl DoubleEndedIterator<Item = Result<Value, Error>> + use<> {
        self.db.scan_prefix(prefix).keys().map(|key| Ok(key?))
    }

    /// Whether there is no row at all.
    pub(super) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Makes all rows durable that were written before the call. After an error nothing more can be written.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let flushed = catch_unwind(AssertUnwindSafe(|| self.db.flush()));
        flushed.map_err(|_| Error::failed("sled panicked while it flushed"))??;
        // sled ends in sync_file_range, which flushes neither the file's size nor the drive's cache.
        self.log.sync_data().map_err(Error::failed)
    }

    /// Bytes of all its files.
    pub(super) fn disk_bytes(&self) -> io::Result<u64> {
        files(&self.path, |_| true)?.iter().map(|file| Ok(file.metadata()?.len())).sum()
    }

    /// Bytes that the file system still has for us.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Leaves sled without closing it: after an I/O error its own close may hang. The next open recovers.
    pub(super) fn abandon(&self) {
        std::mem::forget(self.db.clone());
    }
}

/// The files of a directory (not of those in it) whose names fit.
fn files(path: &Path, fits: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(&fits) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Why sled did not open.
enum Refused {
    /// Somebody has its lock.
    Locked,
    /// What it said, or panicked with.
    Broken(String),
}

/// Opens sled once its lock is free: its own threads may hold it for a moment after the last handle is gone.
fn unlocked(path: &Path, cache_bytes: u64) -> Result<sled::Db, Refused> {
    let since = Instant::now();
    loop {
        match guarded(path, cache_bytes) {
            Err(Refused::Locked) if since.elapsed() < LOCK_LINGERS => thread::sleep(LOCK_LINGERS / 100),
            opened => return opened,
        }
    }
}

fn guarded(path: &Path, cache_bytes: u64) -> Result<sled::Db, Refused> {
    // flush_every_ms stays at its default: sled collects its garbage in that thread.
    let config = sled::Config::new().path(path).segment_size(SEGMENT_BYTES).cache_capacity(cache_bytes);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => Err(Refused::Locked),
        Ok(Err(error)) => Err(Refused::Broken(error.to_string())),
        Err(panic) => Err(Refused::Broken(panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("sled panicked").to_owned()
}

/// Opens sled from its log alone. If that fails, too, the snapshots are put back.
fn without_snapshots(path: &Path, cache_bytes: u64, first: &str) -> Result<sled::Db, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let rename = |from: &str, to: &str| -> io::Result<()> {
        for file in files(path, |name| name.starts_with(from))? {
            let name = file.file_name().and_then(|name| name.to_str()).expect("files() takes only UTF-8 names");
            fs::rename(&file, path.join(name.replacen(from, to, 1)))?;
        }
        Ok(())
    };
    rename(SNAPSHOT, &format!("{ASIDE}{SNAPSHOT}")).map_err(io)?;
    match unlocked(path, cache_bytes) {
        Ok(db) => {
            for file in files(path, |name| name.starts_with(ASIDE)).map_err(io)? {
                fs::remove_file(file).map_err(io)?;
            }
            Ok(db)
        }
        Err(refused) => {
            let second = match refused {
                Refused::Locked => "it is locked".to_owned(),
                Refused::Broken(text) => text,
            };
            rename(&format!("{ASIDE}{SNAPSHOT}"), SNAPSHOT).map_err(io)?;
            Err(OpenError::Damaged { path: path.to_owned(), text: format!("{first}; without snapshots: {second}") })
        }
    }
}

/// sled syncs neither its settings nor the directory.
fn sync_all(path: &Path) -> io::Result<()> {
    for file in files(path, |_| true)? {
        File::open(file)?.sync_all()?;
    }
    File::open(path)?.sync_all()?;
    let parent = path.canonicalize()?.parent().map(Path::to_owned);
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Writes a small file so that it is there whole or not at all, even after a power cut.
pub(super) fn write_whole(path: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = path.join(format!("{name}.new"));
    fs::write(&unfinished, text)?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path.join(name))?;
    File::open(path)?.sync_all()
}
