//! Export and import: versions as records, each followed by its entries and events.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    convert::{
        self,
        export::{Exported, Told},
    },
    status::{Spent, status},
};
use crate::{
    domain::{ConversationId, Entry, Event, Failure},
    engine::{Ended, Engine, ExportedVersion, Import},
    proto::{self, export_record::Kind},
};

pub(super) type ExportStream = Pin<Box<dyn Stream<Item = Result<proto::ExportRecord, Status>> + Send>>;

/// The format of the records.
const FORMAT: i32 = 1;

/// The records of a tree, or of all.
pub(super) async fn export(
    engine: Engine,
    tree: Option<ConversationId>,
    request_id: String,
) -> Result<ExportStream, Failure> {
    let root = match tree {
        Some(id) => Some(engine.root(id).await?),
        None => None,
    };
    let header = proto::ExportHeader {
        format: FORMAT,
        created_at: Some(convert::time::write(Engine::now())),
        version_count: i64::try_from(engine.count(root).await?).unwrap_or(i64::MAX),
    };
    let versions = engine.export(root);
    let feed = Feed { versions, ready: VecDeque::from([Kind::Header(header)]), count: 0, ended: false, request_id };
    Ok(Box::pin(stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    })))
}

/// An export under way.
struct Feed {
    versions: mpsc::Receiver<Result<ExportedVersion, Failure>>,
    ready: VecDeque<Kind>,
    count: i64,
    ended: bool,
    request_id: String,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<proto::ExportRecord, Status>> {
        loop {
            if let Some(kind) = self.ready.pop_front() {
                return Some(Ok(proto::ExportRecord { kind: Some(kind) }));
            }
            if self.ended {
                return None;
            }
            match self.versions.recv().await {
                Some(Ok(version)) => {
                    self.count += 1;
                    self.ready.extend(records(version));
                }
                Some(Err(failure)) => {
                    // No summary: what was sent is not whole.
                    self.ended = true;
                    return Some(Err(status(&failure, &self.request_id, Spent::Nothing)));
                }
                None => {
                    self.ended = true;
                    self.ready.push_back(Kind::Summary(proto::ExportSummary { version_count: self.count }));
                }
            }
        }
    }
}

fn records(exported: ExportedVersion) -> Vec<Kind> {
    let ExportedVersion { version, head, ended } = exported;
    let Ended { turn, inputs, events, request_fingerprint, kept } = ended;
    let exported = Exported {
        version,
        kept_entry_count: kept,
        input_count: inputs.len() as u64,
        added_entry_count: (inputs.len() + turn.outputs.len()) as u64,
        event_count: events.len() as u64,
        request_fingerprint,
        turn,
    };
    let turn = &exported.turn;
    let turn_id = turn.id.to_string();
    let told = Told { turn, inputs: &inputs };
    let mut records = vec![Kind::Version(convert::export::write(&exported, head))];
    records.extend(inputs.iter().chain(&turn.outputs).map(|entry| Kind::Entry(convert::entry::write(entry))));
    records.extend(events.iter().map(|event| Kind::Event(convert::export::write_event(&turn_id, event, told))));
    records
}

/// Why an import ended early. What was stored before it stays.
pub(super) enum Stopped {
    /// The caller's stream broke.
    Stream(Status),
    /// A record was refused.
    Refused(Failure),
}

impl Stopped {
    pub(super) fn into_status(self, request_id: &str) -> Status {
        match self {
            Stopped::Stream(status) => status,
            Stopped::Refused(failure) => status(&failure, request_id, Spent::Nothing),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Refused(failure)
    }
}

/// Stores the versions of a stream of records, each as soon as it is whole.
pub(super) async fn import(
    engine: &Engine,
    mut records: Streaming<proto::ImportConversationsRequest>,
) -> Result<proto::ImportConversationsResponse, Stopped> {
    let mut intake = Intake::default();
    let mut done = proto::ImportConversationsResponse::default();
    for number in 1_u64.. {
        let Some(message) = records.message().await.map_err(Stopped::Stream)? else { break };
        match take(engine, &mut intake, message).await {
            Ok(None) => {}
            Ok(Some(Import::Stored)) => done.imported_version_count += 1,
            Ok(Some(Import::Skipped)) => done.skipped_version_count += 1,
            // Which of perhaps a million: in a file of JSON Lines it is the line.
            Err(failure) => return Err(Stopped::Refused(failure.with("record", number.to_string()))),
        }
    }
    intake.finish()?;
    Ok(done)
}

/// Takes a record, and stores the version that is whole with it.
async fn take(
    engine: &Engine,
    intake: &mut Intake,
    message: proto::ImportConversationsRequest,
) -> Result<Option<Import>, Failure> {
    let kind = message.record.and_then(|record| record.kind);
    let kind = kind.ok_or_else(|| Failure::invalid_field("record", "must be set, with exactly one kind"))?;
    match intake.take(kind)? {
        Some(version) => engine.import(version).await.map(Some),
        None => Ok(None),
    }
}

/// What has come in so far.
#[derive(Default)]
struct Intake {
    begun: bool,
    ended: bool,
    versions: i64,
    draft: Option<Draft>,
}

/// A version of which entries or events are still to come.
struct Draft {
    exported: Exported,
    inputs: Vec<Arc<Entry>>,
    events: Vec<Event>,
}

impl Intake {
    /// Takes a record; gives the version that is whole with it.
    fn take(&mut self, kind: Kind) -> Result<Option<ExportedVersion>, Failure> {
        if !self.begun && !matches!(kind, Kind::Header(_)) {
            return Err(Failure::invalid_field("record", "must be a header first"));
        }
        if self.ended {
            return Err(Failure::invalid_field("record", "must not follow the summary"));
        }
        match kind {
            Kind::Header(header) => self.header(&header)?,
            Kind::Version(version) => {
                self.nothing_missing()?;
                let exported = convert::export::read("record.version", version)?;
                self.draft = Some(Draft { exported, inputs: Vec::new(), events: Vec::new() });
            }
            Kind::Entry(entry) => {
                self.draft("record.entry")?.entry(convert::entry::imported("record.entry", entry)?)?
            }
            Kind::Event(event) => self.draft("record.event")?.event(event)?,
            Kind::Summary(summary) => self.summary(&summary)?,
        }
        Ok(self.whole())
    }

    fn header(&mut self, header: &proto::ExportHeader) -> Result<(), Failure> {
        if self.begun {
            return Err(Failure::invalid_field("record.header", "must come once, first"));
        }
        if header.format != FORMAT {
            let text = format!("must be {FORMAT}, the format that this server reads; is {}", header.format);
            return Err(Failure::invalid_field("record.header.format", text));
        }
        self.begun = true;
        Ok(())
    }

    fn summary(&mut self, summary: &proto::ExportSummary) -> Result<(), Failure> {
        self.nothing_missing()?;
        if summary.version_count != self.versions {
            let text =
                format!("must be the {} versions that came before it, is {}", self.versions, summary.version_count);
            return Err(Failure::invalid_field("record.summary.version_count", text));
        }
        self.ended = true;
        Ok(())
    }

    fn draft(&mut self, field: &str) -> Result<&mut Draft, Failure> {
        self.draft.as_mut().ok_or_else(|| Failure::invalid_field(field, "must follow the version that it belongs to"))
    }

    fn nothing_missing(&self) -> Result<(), Failure> {
        match &self.draft {
            None => Ok(()),
            Some(_) => Err(Failure::invalid_field("record", "must be an entry or an event of the version before it")),
        }
    }

    fn whole(&mut self) -> Option<ExportedVersion> {
        let draft = self.draft.take_if(|draft| draft.is_whole())?;
        self.versions += 1;
        Some(draft.into_version())
    }

    fn finish(&self) -> Result<(), Failure> {
        if self.ended {
            return Ok(());
        }
        let text = "must end with a summary: the export was cut off; what came before it was imported";
        Err(Failure::invalid_field("record", text))
    }
}

impl Draft {
    fn entry(&mut self, entry: Entry) -> Result<(), Failure> {
        let missing_inputs = (self.inputs.len() as u64) < self.exported.input_count;
        if self.entries() >= self.exported.added_entry_count || !self.events.is_empty() {
            return Err(Failure::invalid_field("record.entry", "is one more than the version's added_entry_count"));
        }
        let list = if missing_inputs { &mut self.inputs } else { &mut self.exported.turn.outputs };
        list.push(Arc::new(entry));
        Ok(())
    }

    fn event(&mut self, event: proto::Event) -> Result<(), Failure> {
        if self.entries() < self.exported.added_entry_count {
            return Err(Failure::invalid_field("record.event", "must follow all entries of its version"));
        }
        let told = Told { turn: &self.exported.turn, inputs: &self.inputs };
        let event = convert::export::read_event("record.event", event, told)?;
        if event.sequence != self.events.len() as u64 + 1 {
            return Err(Failure::invalid_field("record.event.sequence", "must be 1, 2, 3 … without gaps"));
        }
        self.events.push(event);
        Ok(())
    }

    fn entries(&self) -> u64 {
        (self.inputs.len() + self.exported.turn.outputs.len()) as u64
    }

    fn is_whole(&self) -> bool {
        self.entries() >= self.exported.added_entry_count && self.events.len() as u64 >= self.exported.event_count
    }

    fn into_version(self) -> ExportedVersion {
        let Draft { exported, inputs, events } = self;
        let Exported { version, turn, kept_entry_count, request_fingerprint, .. } = exported;
        ExportedVersion {
            version,
            head: false,
            ended: Ended { turn, inputs, events, request_fingerprint, kept: kept_entry_count },
        }
    }
}
