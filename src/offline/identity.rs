//! Things that look random and are not: ids and padding, drawn from a hash of the request.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Padding is at most this long, as seen from Mistral since 2025-08.
const PADDING_MAX: u64 = 36;

/// A stream of numbers that is the same for the same request (splitmix64 over a hash of its bytes).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice for a request, by its bytes.
    pub(super) fn of(request: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(request);
        Self(hasher.finish())
    }

    /// A completion's id: 32 hex digits.
    pub(super) fn completion_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.roll(), self.roll())
    }

    /// A tool call's id: nine letters or digits, the only form that Mistral takes back.
    pub(super) fn tool_call_id(&mut self) -> String {
        self.letters(9)
    }

    /// The `p` of a stream chunk: padding of varying length against traffic analysis.
    pub(super) fn padding(&mut self) -> String {
        let length = self.roll() % (PADDING_MAX + 1);
        self.letters(length)
    }

    /// An id in the form of a version 4 UUID, for tracing headers.
    pub(super) fn correlation_id(&mut self) -> String {
        let (high, low) = (self.roll(), self.roll());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    fn letters(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(LETTERS[(self.roll() % LETTERS.len() as u64) as usize])).collect()
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
