//! An export as it is read back: line by line, with the place of every fault.

use std::{
    io::{BufRead, Read},
    mem,
};

use super::{check::Checker, failure::Failure, json};
use crate::proto::ExportRecord;

/// Longer than any record: messages have at most 16 MiB, and JSON at most doubles that.
const LONGEST_LINE_BYTES: u64 = 64 << 20;

/// The records of an export, in their order.
pub(super) struct Lines<R> {
    from: R,
    /// What faults call it: a file's name, or stdin.
    name: String,
    line: u64,
    checker: Checker,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R, name: String) -> Lines<R> {
        Lines { from, name, line: 0, checker: Checker::default(), buffer: Vec::new() }
    }

    /// What was read so far.
    pub(super) fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The next record; none after the summary, which must come.
    pub(super) fn next_record(&mut self) -> Result<Option<ExportRecord>, Failure> {
        loop {
            if !self.read_line()? {
                let line = self.line;
                return match self.checker.finish() {
                    Ok(()) => Ok(None),
                    Err(why) => Err(self.fault(&format!("ends at line {line}, but is not whole: {why}"))),
                };
            }
            let bytes = mem::take(&mut self.buffer);
            if !bytes.trim_ascii().is_empty() {
                let record = self.parse(&bytes)?;
                self.checker.accept(&record).map_err(|why| self.fault(&format!("line {}: {why}", self.line)))?;
                return Ok(Some(record));
            }
        }
    }

    /// False at the end.
    fn read_line(&mut self) -> Result<bool, Failure> {
        let mut limited = (&mut self.from).take(LONGEST_LINE_BYTES);
        let length = limited.read_until(b'\n', &mut self.buffer);
        let length = length.map_err(|error| self.fault(&format!("cannot be read: {error}")))?;
        if length == 0 {
            return Ok(false);
        }
        self.line += 1;
        if length as u64 == LONGEST_LINE_BYTES {
            return Err(self.fault(&format!("line {} is longer than any record", self.line)));
        }
        Ok(true)
    }

    fn parse(&self, bytes: &[u8]) -> Result<ExportRecord, Failure> {
        let place = |column: usize, why: &dyn std::fmt::Display| {
            self.fault(&format!("line {}, column {column}: {why}", self.line))
        };
        let text = str::from_utf8(bytes).map_err(|error| place(error.valid_up_to() + 1, &"is not UTF-8"))?;
        json::from_line(text).map_err(|error| place(error.column, &error))
    }

    fn fault(&self, text: &str) -> Failure {
        Failure::new(format!("{} {text}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"header":{"format":1,"versionCount":"1"}}"#;
    const VERSION: &str = r#"{"version":{"addedEntryCount":"1","conversation":{"id":"conv_x"}}}"#;
    const ENTRY: &str = r#"{"entry":{"id":"msg_x"}}"#;
    const SUMMARY: &str = r#"{"summary":{"versionCount":"1"}}"#;

    fn read(lines: &[&str]) -> Result<usize, String> {
        let text = lines.join("\n");
        let mut lines = Lines::new(text.as_bytes(), "x.jsonl".into());
        let mut count = 0;
        while lines.next_record().map_err(|failure| failure.to_string())?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn a_whole_export_is_read_whole() {
        assert_eq!(read(&[HEADER, VERSION, ENTRY, "", SUMMARY, ""]), Ok(4));
    }

    #[test]
    fn faults_name_line_and_column() {
        for (lines, start) in [
            (vec![], "error: x.jsonl ends at line 0, but is not whole: it is empty"),
            (vec![HEADER, VERSION], "error: x.jsonl ends at line 2, but is not whole: it is cut off: 1 versions"),
            (vec![HEADER, "{\"version\":"], "error: x.jsonl line 2, column 11: EOF while parsing"),
            (vec![HEADER, "{\"version\": 7}"], "error: x.jsonl line 2, column 13: invalid type: integer `7`"),
            (vec![HEADER, "{\"verzion\": {}}"], "error: x.jsonl line 2, column 10: unrecognized field name 'verzion'"),
            (vec![HEADER, "{} {}"], "error: x.jsonl line 2, column 4: trailing characters"),
            (vec![HEADER, VERSION, SUMMARY], "error: x.jsonl line 3: 1 entries and 0 events"),
            (vec![VERSION], "error: x.jsonl line 1: an export begins with a header"),
        ] {
            let fault = read(&lines).expect_err("it is broken");
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_a_fault() {
        let mut lines = Lines::new(&b"{\"he\xff"[..], "stdin".into());
        let fault = lines.next_record().expect_err("it is no UTF-8").to_string();
        assert_eq!(fault, "error: stdin line 1, column 5: is not UTF-8");
    }
}
