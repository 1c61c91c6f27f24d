//! `causerie import`: stores what `causerie export` wrote.

use std::{
    fs::File,
    io::{BufRead, BufReader, stdin},
    path::{Path, PathBuf},
};

use clap::Args;
use tokio::{sync::mpsc, task};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    connect::{Client, Server},
    failure::Failure,
    lines::Lines,
    progress::Progress,
};
use crate::proto::{ImportConversationsRequest, ImportConversationsResponse};

/// Records read ahead of the connection: enough to keep it busy, few enough to forget.
const READ_AHEAD: usize = 64;

/// What `causerie import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    server: Server,
    /// What `causerie export` wrote. `-` is stdin. A file is checked whole before anything is sent.
    file: PathBuf,
}

/// Imports, and says on stderr how much it was.
pub async fn run(args: ImportArgs) -> Result<(), Failure> {
    let answer = if args.file.as_os_str() == "-" {
        let mut client = args.server.connect().await?;
        send(&mut client, Lines::new(BufReader::new(stdin()), "stdin".into()), 0).await
    } else {
        let total = check(&args.file).map_err(|failure| failure.note("Nothing was imported."))?;
        let mut client = args.server.connect().await?;
        send(&mut client, open(&args.file)?, total).await
    };
    let answer = answer.map_err(|failure| {
        failure.note("What was imported before stays. Import it again when this is repaired: what is there is skipped.")
    })?;
    eprintln!(
        "imported {} versions; {} were there already",
        answer.imported_version_count, answer.skipped_version_count
    );
    Ok(())
}

fn open(path: &Path) -> Result<Lines<BufReader<File>>, Failure> {
    let file = File::open(path).map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
    Ok(Lines::new(BufReader::new(file), path.display().to_string()))
}

/// Reads the file once to its end, and gives how many versions it has.
fn check(path: &Path) -> Result<i64, Failure> {
    let mut lines = open(path)?;
    let mut progress = None;
    while lines.next_record()?.is_some() {
        let checker = lines.checker();
        progress.get_or_insert_with(|| Progress::new("checking", checker.announced())).set(checker.versions());
    }
    Ok(lines.checker().versions())
}

async fn send<R>(client: &mut Client, lines: Lines<R>, total: i64) -> Result<ImportConversationsResponse, Failure>
where
    R: BufRead + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let mut reading = task::spawn_blocking(move || {
        let end = feed(lines, &sender, total);
        // The sender comes back with the result: as long as it lives, the server does not take the stream for finished.
        (end, sender)
    });
    let mut call = Box::pin(client.import_conversations(ReceiverStream::new(receiver)));
    let (end, sender) = tokio::select! {
        answer = &mut call => return Ok(answer?.into_inner()),
        read = &mut reading => read.map_err(|error| Failure::new(format!("reading broke: {error}")))?,
    };
    // Dropping the call resets the stream; the server learns that it was not whole.
    end?;
    drop(sender);
    Ok(call.await?.into_inner())
}

/// Reads until the end, a fault, or until the server has heard enough.
fn feed<R: BufRead>(
    mut lines: Lines<R>,
    to: &mpsc::Sender<ImportConversationsRequest>,
    total: i64,
) -> Result<(), Failure> {
    let mut progress = Progress::new("importing", total);
    while let Some(record) = lines.next_record()? {
        progress.set(lines.checker().versions());
        if to.blocking_send(ImportConversationsRequest { record: Some(record) }).is_err() {
            break;
        }
    }
    Ok(())
}
