//! Server-sent events (WHATWG HTML, 9.2): bytes in, the `data` of each event out.
//!
//! More tolerant than the standard where providers are sloppy: an event that the stream's end cuts short of its blank line
//! still counts. Event names, ids and retry times are not looked at: chat completions put everything into `data`.

/// Splits a stream into the data of its events, wherever the network cuts it.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of the event so far, joined by line feeds.
    data: Vec<u8>,
    /// The event has a data line, maybe an empty one.
    has_data: bool,
    /// A carriage return ended the last line: a line feed right after it belongs to it.
    skip_line_feed: bool,
    /// The first line has been seen, and with it a byte order mark.
    begun: bool,
}

/// An event is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    /// Takes the next bytes in and gives each event's data that they complete to `event`, which may stop with an error.
    /// No line and no event may be longer than `max_bytes`.
    pub(super) fn push<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        max_bytes: usize,
        mut event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.skip_line_feed) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.line.extend_from_slice(bytes);
                return self.check_length(max_bytes).map_err(E::from);
            };
            self.skip_line_feed = bytes[end] == b'\r';
            // Most lines come whole: only what was cut before is copied.
            if self.line.is_empty() {
                self.take_line(&bytes[..end], &mut event)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..end]);
                self.take_line(&line, &mut event)?;
                line.clear();
                self.line = line;
            }
            self.check_length(max_bytes)?;
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The stream has ended: what is left counts as an event.
    pub(super) fn finish<E>(&mut self, mut event: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut event)?;
        }
        self.take_line(b"", &mut event)
    }

    fn check_length(&self, max_bytes: usize) -> Result<(), TooLong> {
        if self.line.len().max(self.data.len()) > max_bytes { Err(TooLong) } else { Ok(()) }
    }

    fn take_line<E>(&mut self, line: &[u8], event: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let first = !std::mem::replace(&mut self.begun, true);
        let line = if first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        if line.is_empty() {
            let result = if self.has_data { event(&self.data) } else { Ok(()) };
            self.data.clear();
            self.has_data = false;
            return result;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        if field == b"data" {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        let mut take = |data: &[u8]| {
            found.push(String::from_utf8(data.to_vec()).expect("the tests' data is text"));
            Ok::<(), TooLong>(())
        };
        for part in parts {
            decoder.push(part, 1000, &mut take).expect("short");
        }
        decoder.finish(&mut take).expect("short");
        found
    }

    #[test]
    fn every_line_end_and_field_form_is_read_at_every_split() {
        let rows: [(&str, &[&str]); 9] = [
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("\u{FEFF}data:a\n\n: comment\ndata:  two  \n\n", &["a", " two  "]),
            ("data: one\ndata\ndata: three\n\n", &["one\n\nthree"]),
            ("event: x\nid: 1\nretry: 5\ndata: é😀\n\n", &["é😀"]),
            ("data: cut", &["cut"]),
            ("\n\n: only comments\n\n", &[]),
            ("data:\n\n", &[""]),
        ];
        for (stream, expected) in rows {
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(events(&[&bytes[..cut], &bytes[cut..]]), expected, "{stream:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&single), expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn lines_and_events_have_a_limit() {
        let ignore = |_: &[u8]| Ok::<(), TooLong>(());
        assert_eq!(Decoder::default().push(b"data: 0123456789", 12, ignore), Err(TooLong));
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"data: 01234\n", 12, ignore), Ok(()));
        assert_eq!(decoder.push(b"data: 56789\ndata: 01234\n", 12, ignore), Err(TooLong));
    }
}
