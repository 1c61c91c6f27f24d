//! Files that hold what a test expects. `UPDATE_GOLDEN=1` writes them anew; read the difference before you commit it.

use std::{fs, path::Path};

/// Compares with `tests/golden/{name}`.
pub(crate) fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the golden folder can be made");
        fs::write(&path, found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

/// The text with what differs from run to run made the same: ids (runs of 32 hex digits), times, and milliseconds.
pub(crate) fn normalised(text: &str) -> String {
    let mut plain = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !"-:.".contains(c)) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = word.len() >= 20 && word.as_bytes()[10] == b'T' && word.ends_with('Z') && word.contains(':');
        if word == "ms" && plain.ends_with(' ') {
            plain.truncate(plain.trim_end_matches(' ').trim_end_matches(|c: char| c.is_ascii_digit()).len());
            plain.push_str("N ");
        }
        plain.push_str(if is_id {
            "ID"
        } else if is_time {
            "TIME"
        } else {
            word
        });
        plain.push_str(&piece[word.len()..]);
    }
    plain
}

#[test]
fn ids_and_times_are_all_that_is_made_the_same() {
    let text = "\"id\": \"turn_01a1fd552db27715af93b3de3e97b1dd\", at 2026-11-21T08:59:40.338651Z: 18 a1, 120 ms";
    assert_eq!(normalised(text), "\"id\": \"turn_ID\", at TIME: 18 a1, N ms");
}
