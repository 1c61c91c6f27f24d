//! Tool call ids in the forms that providers take. Ours may be anything, also another provider's.
//!
//! The same id always gives the same form, on every machine and version: histories are encoded anew and must not change, and a
//! provider's prompt cache lives on equal prefixes. The way back needs no table: which of a history's calls an answer's pieces
//! belong to is told by their order, and the ids of new calls are ours.

use std::{borrow::Cow, hash::Hasher};

use siphasher::sip::SipHasher24;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const PREFIX: &str = "call_";
/// OpenAI refuses longer ones.
const LONGEST: usize = 40;

/// Mistral's form, exactly nine letters and digits: the id itself where it fits, otherwise a hash of it.
///
/// Two of a history's n ids meet with a probability of about n²/2⁵⁵: one in four billion for 3,000 calls.
pub(super) fn nine_characters(ours: &str) -> Cow<'_, str> {
    if ours.len() == 9 && ours.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(ours);
    }
    Cow::Owned(digits(ours, 9))
}

/// OpenAI's form, `call_` and up to 35 letters and digits: the id itself where it fits, otherwise a hash of it.
///
/// Two of a history's n ids meet with a probability of about n²/2⁶⁵.
pub(super) fn with_prefix(ours: &str) -> Cow<'_, str> {
    let fits = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if ours.len() <= LONGEST && ours.strip_prefix(PREFIX).is_some_and(fits) {
        return Cow::Borrowed(ours);
    }
    // Eleven digits hold all of the hash.
    Cow::Owned(PREFIX.to_owned() + &digits(ours, 11))
}

fn digits(id: &str, length: usize) -> String {
    let mut hasher = SipHasher24::new_with_keys(0x6361_7573_6572_6965, 0x746f_6f6c_5f69_6473);
    hasher.write(id.as_bytes());
    let mut rest = hasher.finish();
    let digits = (0..length).map(|_| {
        let digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_that_fit_are_kept_and_others_hashed_for_ever() {
        let ours = "call_0190c9d2a8b87c3e8f00112233445566";
        // These must never change: see the head of this file.
        assert_eq!(nine_characters("6TI17yZkV"), "6TI17yZkV");
        assert_eq!(nine_characters(ours), "qv1XPFqAy");
        assert_eq!(nine_characters("toolu_01"), "f5IK1JX5v");
        assert_eq!(nine_characters(""), "TfvnUhyb2");
        assert_eq!(with_prefix(ours), ours);
        assert_eq!(with_prefix("6TI17yZkV"), "call_qPfWJuHgfT9");
        assert_eq!(with_prefix("toolu_01"), "call_f5IK1JX5vD5");
        assert_eq!(with_prefix("call_"), "call_RHsyq3HRXyK");
    }

    #[test]
    fn a_long_history_keeps_its_ids_apart() {
        let ids: Vec<String> = (0..100_000).map(|n| format!("toolu_{n:032x}")).collect();
        let nine: HashSet<_> = ids.iter().map(|id| nine_characters(id)).collect();
        let prefixed: HashSet<_> = ids.iter().map(|id| with_prefix(id)).collect();
        assert_eq!((nine.len(), prefixed.len()), (ids.len(), ids.len()));
        let plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(nine.iter().all(|id| id.len() == 9 && plain(id)));
        assert!(prefixed.iter().all(|id| id.len() <= LONGEST && id.strip_prefix(PREFIX).is_some_and(plain)));
    }
}
