//! A small disk: a tmpfs of a test's own.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

/// A mounted tmpfs. Unmounted when it is dropped.
pub(super) struct Mount {
    dir: TempDir,
}

impl Mount {
    /// A disk of so many MiB; none, and that is said loudly, where this process may not mount one.
    pub(super) fn new(mib: usize) -> Option<Mount> {
        let dir = TempDir::new().expect("a temporary folder");
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"], dir.path());
        match mounted {
            Ok(()) => Some(Mount { dir }),
            Err(why) => {
                // To stderr itself: the harness keeps what the print macros say in a test that passes.
                let line = format!("\nSKIPPED disk_full: no tmpfs can be mounted ({why}). To enable: run as root\n");
                std::io::stderr().write_all(line.as_bytes()).expect("stderr");
                None
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it larger.
    pub(super) fn enlarge(&self, mib: usize) {
        mount(&["-o", &format!("remount,size={mib}m")], self.path()).expect("it is mounted");
    }

    /// Writes a file of so many MiB.
    pub(super) fn put(&self, name: &str, mib: usize) {
        fs::write(self.path().join(name), vec![1; mib << 20]).expect("there is room");
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).expect("it is there");
    }

    /// Leaves no room at all.
    pub(super) fn fill(&self) {
        let mut file = File::create(self.path().join("everything")).expect("a file");
        for block in [1 << 20, 4 << 10] {
            while file.write_all(&vec![1; block]).is_ok() {}
        }
    }

    /// Makes room again.
    pub(super) fn clear(&self) {
        self.remove("everything");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that was killed may not be gone yet.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(options).arg(at).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
