//! Pages of a list (AIP-158): how many rows, and an opaque token that goes on where the page before ended.
//!
//! A token is the hex of a format byte, a hash of the query that it belongs to, and the store's cursor. The hash catches
//! mistakes, not attackers: a cursor is a caller's bytes, and the store checks them like any others.

use std::hash::Hasher;

use prost::Message;
use siphasher::sip::SipHasher24;

use super::convert::{path::Path, violations::Violations};

/// Rows on a page that nobody asked a size for.
pub const DEFAULT_SIZE: usize = 50;
/// The most rows on a page; who asks for more gets so many.
pub const MAX_SIZE: usize = 1000;

/// The first byte of a token. A token of another format is refused, and the caller begins again.
const FORMAT: u8 = 1;
const BOUND: usize = 9;
/// Longer texts were never tokens of ours.
const MAX_TOKEN: usize = 2048;
/// Changing it makes tokens from before an upgrade stale.
const KEY: [u8; 16] = *b"causerie listing";

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most so many rows: 1 to [`MAX_SIZE`].
    pub size: usize,
    /// Where to go on; `None` on the first page.
    pub cursor: Option<Vec<u8>>,
    binding: [u8; 8],
}

impl Page {
    /// Reads the page fields of a message at `at`. `query` is the rest of the message, page fields cleared, and `method` its
    /// method's name: the token is good for these only.
    pub(super) fn read(
        at: &Path<'_>,
        method: &str,
        query: &impl Message,
        (page_size, page_token): (i32, &str),
        violations: &mut Violations,
    ) -> Option<Page> {
        let binding = binding(method, query);
        let size = usize::try_from(page_size).ok();
        if size.is_none() {
            violations.add(&at.field("page_size"), format_args!("must be at least 0, is {page_size}"));
        }
        let cursor = if page_token.is_empty() { Some(None) } else { open(page_token, binding).map(Some) };
        if cursor.is_none() {
            violations.add(
                &at.field("page_token"),
                format_args!(
                    "is not a token of this query: give the one of the page before and leave the rest of the request as it \
                     was, or leave it out to begin again"
                ),
            );
        }
        let size = match size? {
            0 => DEFAULT_SIZE,
            size => size.min(MAX_SIZE),
        };
        Some(Page { size, cursor: cursor?, binding })
    }

    /// The token of the page that goes on at `cursor`: a short key of the store's, at most 1000 bytes.
    pub fn next_token(&self, cursor: &[u8]) -> String {
        let bytes = [FORMAT].iter().chain(&self.binding).chain(cursor);
        bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

fn binding(method: &str, query: &impl Message) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&KEY);
    hasher.write(method.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(&query.encode_to_vec());
    hasher.finish().to_be_bytes()
}

fn open(token: &str, binding: [u8; 8]) -> Option<Vec<u8>> {
    if token.len() > MAX_TOKEN || !token.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        token.as_bytes().chunks_exact(2).map(|pair| Some((value(pair[0])? << 4) | value(pair[1])?)).collect();
    let bytes = bytes?;
    let (head, cursor) = bytes.split_at_checked(BOUND)?;
    (head[0] == FORMAT && head[1..] == binding).then(|| cursor.to_vec())
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).expect("four bits are one hex digit")
}

/// Lowercase only, so that a page has one token.
fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DEFAULT_SIZE, MAX_SIZE, Page};
    use crate::{
        domain::Failure,
        grpc::convert::{
            path::Path,
            violations::{self, Rules},
        },
        proto::ListEntriesRequest,
    };

    fn page(method: &str, query: &str, size: i32, token: &str) -> Result<Page, Failure> {
        let query = ListEntriesRequest { conversation_id: query.to_owned(), ..ListEntriesRequest::default() };
        violations::read(Rules::All, |v| Page::read(&Path::root(""), method, &query, (size, token), v))
    }

    #[test]
    fn sizes_are_coerced_or_refused() {
        let size = |size| page("ListEntries", "a", size, "").map(|page| page.size);
        assert_eq!(size(0).expect("default"), DEFAULT_SIZE);
        assert_eq!(size(7).expect("as asked"), 7);
        assert_eq!(size(i32::MAX).expect("coerced"), MAX_SIZE);
        assert_eq!(size(-1).expect_err("refused").violations[0].field, "page_size");
    }

    #[test]
    fn a_token_is_good_for_its_query_only() {
        let token = page("ListEntries", "a", 1, "").expect("valid").next_token(b"cursor");
        // The size may change from page to page.
        assert_eq!(page("ListEntries", "a", 500, &token).expect("valid").cursor.as_deref(), Some(&b"cursor"[..]));
        let changed = token.replace('1', "2");
        for (method, query, token) in [
            ("ListEntries", "b", token.as_str()),
            ("ListVersions", "a", &token),
            ("ListEntries", "a", &token[1..]),
            ("ListEntries", "a", &token.to_uppercase()),
            ("ListEntries", "a", &changed),
            ("ListEntries", "a", "Not a token"),
            ("ListEntries", "a", "01"),
        ] {
            let failure = page(method, query, 0, token).expect_err("a foreign token");
            assert_eq!(failure.violations[0].field, "page_token");
        }
    }

    proptest! {
        #[test]
        fn cursors_come_back_and_garbage_does_not_panic(cursor in prop::collection::vec(any::<u8>(), 0..64), garbage in ".{0,80}") {
            let first = page("ListEntries", "a", 0, "").expect("valid");
            let next = page("ListEntries", "a", 0, &first.next_token(&cursor)).expect("its own token");
            prop_assert_eq!(next.cursor, Some(cursor));
            let _ = page("ListEntries", "a", 0, &garbage);
        }
    }
}
