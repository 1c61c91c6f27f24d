//! Texts that compress about as well as short prose does. The same seed gives the same text.

/// The length of a question; with its answer 2 KB, which is also what the bare hop appends.
pub(crate) const QUESTION_BYTES: usize = 600;

/// The length of an answer.
pub(crate) const ANSWER_BYTES: usize = 1_400;

/// How many lengths mixed messages have. A run of so many turns carries the same bytes as any other run of so many.
pub(crate) const MIXED: usize = 32;

/// The lengths of mixed messages: evenly spread from 100 B to 2 KB, short and long ones taking turns.
pub(crate) fn mixed_length(index: usize) -> usize {
    // 11 and 32 have no common factor, so each step is met once.
    let step = (index * 11) % MIXED;
    100 + step * (2_048 - 100) / (MIXED - 1)
}

/// Words of made-up letters, exactly so many bytes, ASCII, nothing that JSON would escape.
pub(crate) fn words(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 12);
    while text.len() < bytes {
        // Squared, because few words of a language are used often and many seldom.
        let pick = u64::from(next(&mut state));
        push_word(&mut text, (((pick * pick) >> 32) * 2_003) >> 32);
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

fn push_word(text: &mut String, word: u64) {
    const SYLLABLES: [&str; 16] =
        ["ta", "re", "on", "li", "es", "mo", "ur", "ni", "sa", "ve", "co", "di", "par", "le", "un", "que"];
    let mut state = (word + 1).wrapping_mul(0xD134_2543_DE82_EF95) | 1;
    for _ in 0..=word % 4 {
        text.push_str(SYLLABLES[next(&mut state) as usize % SYLLABLES.len()]);
    }
}

/// xorshift: no randomness needed, only variety.
fn next(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u32
}
