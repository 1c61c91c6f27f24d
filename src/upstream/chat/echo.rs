//! The text that the model was asked to continue, at the start of its answer.
//!
//! Mistral repeats a prefix before it goes on; other servers of the same API don't. So it is taken off only where it really
//! stands, also where it comes in pieces.

/// Takes the repeated text off the start of an answer.
pub(super) struct Echo {
    text: String,
    /// So much of the answer's start equals the start of `text` and is held back.
    matched: usize,
}

impl Echo {
    /// `None`: there is nothing to wait for.
    pub(super) fn new(text: String) -> Option<Echo> {
        (!text.is_empty()).then_some(Echo { text, matched: 0 })
    }

    /// Takes the next piece of the answer's text. `Err` gives back the text that is known to be new; then the work is done.
    pub(super) fn strip(mut self, piece: String) -> Result<Echo, String> {
        let awaited = &self.text[self.matched..];
        if let Some(new) = piece.strip_prefix(awaited) {
            return Err(new.to_owned());
        }
        if awaited.starts_with(&piece) {
            self.matched += piece.len();
            return Ok(self);
        }
        Err(self.held() + &piece)
    }

    /// Whether any text is held back.
    pub(super) fn holds_text(&self) -> bool {
        self.matched > 0
    }

    /// The text that was held back; it was no repetition if the answer ends, or holds something else, here.
    pub(super) fn held(mut self) -> String {
        self.text.truncate(self.matched);
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(prefix: &str, pieces: &[&str]) -> String {
        let mut echo = Echo::new(prefix.to_owned());
        let mut out = String::new();
        for piece in pieces {
            match echo.take() {
                None => out.push_str(piece),
                Some(waiting) => match waiting.strip((*piece).to_owned()) {
                    Ok(waiting) => echo = Some(waiting),
                    Err(text) => out.push_str(&text),
                },
            }
        }
        out + &echo.map(Echo::held).unwrap_or_default()
    }

    #[test]
    fn only_a_real_repetition_is_taken_off() {
        let rows: [(&str, &[&str], &str); 9] = [
            ("Once", &["Once upon"], " upon"),
            ("Once", &["On", "ce", " upon"], " upon"),
            ("Once", &["On", "ce upon", " Once"], " upon Once"),
            ("Once", &["O", "h"], "Oh"),
            ("Once", &["On"], "On"),
            ("Once", &["Once"], ""),
            ("Once", &[" upon"], " upon"),
            ("é", &["é", "é"], "é"),
            ("", &["a"], "a"),
        ];
        for (prefix, pieces, expected) in rows {
            assert_eq!(stripped(prefix, pieces), expected, "{prefix:?} {pieces:?}");
        }
    }
}
