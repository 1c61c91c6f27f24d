//! Notices when the newest writes are lost.
//!
//! sled takes a damaged place near the end of its log for what a crash left unfinished: it drops all that follows and says
//! nothing. So a number is kept twice, in a row and, once that is durable, in a file of its own. It grows about once a second
//! while there are writes, and when the store is closed. If the row is behind the file when the store is opened, acknowledged
//! writes are gone.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use super::{disk::Disk, error::Error, keys};

/// The file. Who removes it accepts the loss.
pub(super) const FILE: &str = "WITNESS";

const EVERY: Duration = Duration::from_secs(1);

/// The number, in both places.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    number: u64,
    confirmed: Instant,
}

impl Witness {
    /// Compares both; `Ok(None)`: writes were lost.
    pub(super) fn open(path: &Path, disk: &Disk) -> Result<Option<Witness>, Error> {
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(path.join(FILE));
        let mut file = file.map_err(Error::failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::failed)?;
        let confirmed: u64 = text.trim().parse().unwrap_or(0);
        let number = match disk.get(keys::WITNESS)? {
            Some(row) => u64::from_be_bytes(row.as_ref().try_into().map_err(Error::failed)?),
            None => 0,
        };
        Ok((number >= confirmed).then(|| Witness { file, number, confirmed: Instant::now() }))
    }

    /// Whether it is time for the next number.
    pub(super) fn is_due(&self) -> bool {
        self.confirmed.elapsed() >= EVERY
    }

    /// Writes the next number's row. A flush must follow.
    pub(super) fn announce(&mut self, disk: &Disk) -> Result<(), Error> {
        self.number += 1;
        disk.insert(keys::WITNESS, &self.number.to_be_bytes())
    }

    /// Writes the number's file: its row is durable.
    pub(super) fn confirm(&mut self) -> io::Result<()> {
        self.confirmed = Instant::now();
        // One sector: whole or not at all.
        self.file.write_all_at(format!("{:020}\n", self.number).as_bytes(), 0)?;
        self.file.sync_data()
    }
}
