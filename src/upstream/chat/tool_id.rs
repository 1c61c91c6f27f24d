//! Tool call ids as Mistral takes them: exactly nine letters and digits, distinct within a history.

use std::{borrow::Cow, hash::Hasher};

use siphasher::sip::SipHasher24;

const LENGTH: usize = 9;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Mistral's form of one of our ids: itself where it fits, otherwise a hash of it.
///
/// The same id always gives the same form, on every machine and version: histories are encoded anew and must not change, and a
/// provider's prompt cache lives on equal prefixes. Two of a history's n ids meet with a probability of about n²/2⁵⁵: one in
/// four billion for 3,000 calls.
pub(super) fn provider_id(ours: &str) -> Cow<'_, str> {
    if ours.len() == LENGTH && ours.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(ours);
    }
    let mut hasher = SipHasher24::new_with_keys(0x6361_7573_6572_6965, 0x746f_6f6c_5f69_6473);
    hasher.write(ours.as_bytes());
    let mut rest = hasher.finish();
    let digits = (0..LENGTH).map(|_| {
        let digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    });
    Cow::Owned(digits.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_that_fit_are_kept_and_others_hashed_for_ever() {
        assert_eq!(provider_id("6TI17yZkV"), "6TI17yZkV");
        // These must never change: see `provider_id`.
        assert_eq!(provider_id("call_0190c9d2a8b87c3e8f00112233445566"), "qv1XPFqAy");
        assert_eq!(provider_id("toolu_01"), "f5IK1JX5v");
        assert_eq!(provider_id(""), "TfvnUhyb2");
    }

    #[test]
    fn a_long_history_keeps_its_ids_apart() {
        let ids: Vec<String> = (0..100_000).map(|n| format!("call_{n:032x}")).collect();
        let mapped: HashSet<_> = ids.iter().map(|id| provider_id(id)).collect();
        assert_eq!(mapped.len(), ids.len());
        assert!(mapped.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }
}
