//! `causerie export`: whole trees as JSON Lines.

use std::{
    fs::{self, File},
    io::{BufWriter, Write, stdout},
    path::{Path, PathBuf},
    process,
};

use clap::Args;

use super::{
    check::Checker,
    connect::{Client, Server},
    failure::Failure,
    json,
    progress::Progress,
};
use crate::proto::ExportConversationsRequest;

/// What `causerie export` takes.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    server: Server,
    /// Where to write. `-` is stdout. A file appears only when it is whole.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Any version of the conversation to export; without it, all conversations.
    conversation_id: Option<String>,
}

/// Exports, and says on stderr how much it was.
pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    let mut client = args.server.connect().await?;
    let id = args.conversation_id.unwrap_or_default();
    let work = async {
        if args.output.as_os_str() == "-" {
            let mut out = BufWriter::new(stdout().lock());
            let count = copy(&mut client, id, &mut out, true).await?;
            out.flush()?;
            Ok(count)
        } else {
            to_file(&mut client, id, &args.output, true).await
        }
    };
    let count = tokio::select! {
        done = work => done?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::new("interrupted; the export is not whole")),
    };
    eprintln!("exported {count} versions");
    Ok(())
}

/// Writes a file that appears only when it is whole, and gives how many versions are in it.
pub(super) async fn to_file(client: &mut Client, id: String, path: &Path, progress: bool) -> Result<i64, Failure> {
    let cannot = |error| Failure::new(format!("{} cannot be written: {error}", path.display()));
    let partial = Partial::beside(path);
    let file = File::create(&partial.0).map_err(cannot)?;
    let mut out = BufWriter::new(file);
    let count = copy(client, id, &mut out, progress).await?;
    let file = out.into_inner().map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    fs::rename(&partial.0, path).map_err(cannot)?;
    Ok(count)
}

/// A file in the making; removed when dropped, unless it was renamed before.
struct Partial(PathBuf);

impl Partial {
    /// In the directory of the whole one: a rename does not leave a file system.
    fn beside(path: &Path) -> Partial {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Partial(path.with_file_name(format!(".{name}.{}.partial", process::id())))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // There is nothing to remove after the rename, and nothing to do about it otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

async fn copy(client: &mut Client, id: String, out: &mut impl Write, progress: bool) -> Result<i64, Failure> {
    let mut records =
        client.export_conversations(ExportConversationsRequest { conversation_id: id }).await?.into_inner();
    let mut checker = Checker::default();
    let mut shown = None;
    while let Some(record) = records.message().await? {
        checker.accept(&record).map_err(|why| wrong(&why))?;
        let line = json::to_line(&record).map_err(|error| wrong(&error.to_string()))?;
        writeln!(out, "{line}")?;
        if progress {
            shown.get_or_insert_with(|| Progress::new("exporting", checker.announced())).set(checker.versions());
        }
    }
    checker.finish().map_err(|why| wrong(&why))?;
    Ok(checker.versions())
}

fn wrong(why: &str) -> Failure {
    Failure::new(format!("what the server exports cannot be written: {why}"))
        .note("Is it of another version than this program?")
}
