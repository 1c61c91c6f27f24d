//! The folders are the architecture: who may import whom, and how long a file may grow.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room, and the rooms that it may name.
const ARROWS: [(&str, &[&str]); 12] = [
    ("main", &["config", "cli", "server"]),
    ("server", &["grpc", "engine", "store", "upstream", "tools", "offline", "config"]),
    ("grpc", &["engine", "domain", "proto"]),
    ("engine", &["store", "upstream", "tools", "domain"]),
    ("store", &["domain"]),
    ("upstream", &["domain"]),
    ("tools", &["domain"]),
    ("cli", &["proto", "config"]),
    ("domain", &[]),
    ("offline", &[]),
    ("config", &[]),
    ("proto", &[]),
];

const LINES_MAX: usize = 500;

#[test]
fn rooms_import_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for file in sources(Path::new("src")) {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{} is in no room: give `{room}` its arrows", file.display()));
        for named in rooms_named_in(&fs::read_to_string(&file).expect("a source file is readable text")) {
            if named != room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {room} -> {named}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    let outside = ["tonic", "prost", "sled", "reqwest", "tokio", "SystemTime", "Instant", "std::fs", "std::net"];
    for file in sources(Path::new("src/domain")) {
        let text = fs::read_to_string(&file).expect("a source file is readable text");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let found = outside.iter().find(|name| line.contains(**name));
            assert!(found.is_none(), "{}: the domain names {found:?}: {line}", file.display());
        }
    }
}

#[test]
fn no_file_outgrows_one_sitting() {
    let roots = ["src", "tests", "benches"];
    let long: Vec<String> = roots
        .iter()
        .flat_map(|root| sources(Path::new(root)))
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).expect("a source file is readable text").lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "files over {LINES_MAX} lines:\n{}", long.join("\n"));
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("the tests run in the crate's folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `src/engine/log.rs` is in `engine`, `src/server.rs` is `server`.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix("src").expect("only sources are asked for");
    let first = inside.iter().next().expect("a file has a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a file names: the first name after `crate::` or `causerie::`, in groups too.
fn rooms_named_in(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for marker in ["crate::", "causerie::"] {
        for (at, _) in text.match_indices(marker) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"' || c == '/') {
                continue;
            }
            let rest = &text[at + marker.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                named.extend(first_names(group));
            } else {
                named.extend(leading_name(rest));
            }
        }
    }
    named.retain(|name| ARROWS.iter().any(|(room, _)| room == name));
    named
}

/// The first names of the items of a use group, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_item) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_item = true,
            c if at_item && (c.is_alphabetic() || c == '_') => {
                names.extend(leading_name(&group[at..]));
                at_item = false;
            }
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
