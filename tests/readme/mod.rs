//! The README: what it tells a new user to type is typed, what it shows is what comes, and its tables are the code's.

mod blocks;
mod commands;
mod settings;
mod tables;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The tests of this folder read and write one file.
static FILE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn text() -> String {
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    read()
}

fn read() -> String {
    fs::read_to_string(path()).expect("README.md is in the crate's folder")
}

/// Puts `found` in the place of `expected`, if `UPDATE_GOLDEN=1` asks for it; else they must be the same.
fn compare(what: &str, expected: &str, found: &str) {
    if expected == found {
        return;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        panic!("README.md, {what}:\n{expected}\nis in truth:\n{found}\nUPDATE_GOLDEN=1 writes it anew");
    }
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = read();
    let after = before.replacen(expected, found, 1);
    assert_ne!(before, after, "{what} is not in README.md as it was read");
    fs::write(path(), after).expect("README.md can be written");
}
