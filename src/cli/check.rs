//! The order of an export: a header, each version followed by its own entries and events, a summary. A cut or mixed-up
//! export breaks it.

use crate::proto::{ExportHeader, ExportRecord, ExportSummary, ExportedVersion, export_record::Kind};

/// The format that this program reads and writes.
const FORMAT: i32 = 1;

/// Follows the records of an export, and says where they break its order.
#[derive(Debug, Default)]
pub(super) struct Checker {
    place: Place,
    versions: i64,
    announced: i64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeHeader,
    /// So many entries and events of the version before are still to come.
    Within {
        entries: i64,
        events: i64,
    },
    AfterSummary,
}

impl Checker {
    /// The versions seen so far.
    pub(super) fn versions(&self) -> i64 {
        self.versions
    }

    /// The versions that the header announced.
    pub(super) fn announced(&self) -> i64 {
        self.announced
    }

    /// Takes the next record, or says why it cannot stand here.
    pub(super) fn accept(&mut self, record: &ExportRecord) -> Result<(), String> {
        match (&mut self.place, &record.kind) {
            (_, None) => Err("the record is empty, or of a kind that this version does not know".into()),
            (Place::BeforeHeader, Some(Kind::Header(header))) => self.begin(header),
            (Place::BeforeHeader, Some(_)) => Err("an export begins with a header record; this is none".into()),
            (Place::AfterSummary, Some(_)) => Err("nothing may follow the summary record".into()),
            (Place::Within { .. }, Some(Kind::Header(_))) => {
                Err("a second header; are these two exports in one?".into())
            }
            (Place::Within { entries, .. }, Some(Kind::Entry(_))) if *entries > 0 => {
                *entries -= 1;
                Ok(())
            }
            (Place::Within { entries: 0, events }, Some(Kind::Event(_))) if *events > 0 => {
                *events -= 1;
                Ok(())
            }
            (Place::Within { entries: 0, events: 0 }, Some(Kind::Version(version))) => self.begin_version(version),
            (Place::Within { entries: 0, events: 0 }, Some(Kind::Summary(summary))) => self.end(summary),
            (Place::Within { entries, events }, Some(_)) => Err(out_of_place(*entries, *events)),
        }
    }

    /// Whether the summary has come.
    pub(super) fn finish(&self) -> Result<(), String> {
        match &self.place {
            Place::AfterSummary => Ok(()),
            Place::BeforeHeader => Err("it is empty".into()),
            Place::Within { .. } => {
                Err(format!("it is cut off: {} versions, but no summary record at the end", self.versions))
            }
        }
    }

    fn begin(&mut self, header: &ExportHeader) -> Result<(), String> {
        if header.format != FORMAT {
            return Err(format!("its format is {}; this version knows only format {FORMAT}", header.format));
        }
        self.announced = header.version_count;
        self.place = Place::Within { entries: 0, events: 0 };
        Ok(())
    }

    fn begin_version(&mut self, version: &ExportedVersion) -> Result<(), String> {
        if version.added_entry_count < 0 || version.event_count < 0 {
            return Err("addedEntryCount and eventCount must not be negative".into());
        }
        self.versions += 1;
        self.place = Place::Within { entries: version.added_entry_count, events: version.event_count };
        Ok(())
    }

    fn end(&mut self, summary: &ExportSummary) -> Result<(), String> {
        if summary.version_count != self.versions {
            let counted = self.versions;
            return Err(format!("the summary counts {} versions, but {counted} came", summary.version_count));
        }
        self.place = Place::AfterSummary;
        Ok(())
    }
}

fn out_of_place(entries: i64, events: i64) -> String {
    match (entries, events) {
        (0, 0) => "the version before has all its entries and events already".into(),
        (entries, events) => format!("{entries} entries and {events} events of the version before are missing here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Entry, Event};

    fn record(letter: char) -> ExportRecord {
        let kind = match letter {
            'h' => Kind::Header(ExportHeader { format: 1, version_count: 2, ..Default::default() }),
            'H' => Kind::Header(ExportHeader { format: 2, ..Default::default() }),
            'v' => Kind::Version(ExportedVersion { added_entry_count: 2, event_count: 1, ..Default::default() }),
            'b' => Kind::Version(ExportedVersion::default()),
            'e' => Kind::Entry(Entry::default()),
            'x' => Kind::Event(Event::default()),
            's' => Kind::Summary(ExportSummary { version_count: 2 }),
            _ => return ExportRecord { kind: None },
        };
        ExportRecord { kind: Some(kind) }
    }

    /// The number of the first record that is refused, and why; 0 for the end.
    fn first_fault(letters: &str) -> Option<(usize, String)> {
        let mut checker = Checker::default();
        for (i, letter) in letters.chars().enumerate() {
            if let Err(why) = checker.accept(&record(letter)) {
                return Some((i + 1, why));
            }
        }
        checker.finish().err().map(|why| (0, why))
    }

    #[test]
    fn whole_exports_pass() {
        assert_eq!(first_fault("hveexbs"), None);
        assert_eq!(first_fault("hbbs"), None);
    }

    #[test]
    fn broken_ones_are_refused_where_they_break() {
        for (letters, place, why) in [
            ("", 0, "it is empty"),
            ("veex", 1, "begins with a header"),
            ("H", 1, "its format is 2"),
            ("hh", 2, "two exports"),
            ("h?", 2, "is empty"),
            ("hvees", 5, "0 entries and 1 events of the version before are missing"),
            ("hvex", 4, "1 entries and 1 events"),
            ("hveexe", 6, "has all its entries"),
            ("hbs", 3, "counts 2 versions, but 1 came"),
            ("hbbsb", 5, "nothing may follow"),
            ("hb", 0, "it is cut off: 1 versions"),
        ] {
            let found = first_fault(letters).expect("it is broken");
            assert!(found.0 == place && found.1.contains(why), "{letters}: {found:?}");
        }
    }
}
