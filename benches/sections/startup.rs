//! Start-up with many stored conversations: time until health says SERVING, and memory at that moment.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use causerie::proto::ListConversationsRequest;
use tokio::task::JoinSet;

use super::{
    contest::clear,
    fixture::{answer, exchange, import, question},
};
use crate::{
    Result,
    args::Bench,
    load::grpc::{self, Client},
    report::{Figure, Mark, Unit},
    service::{Service, Setup},
};

const SECTION: &str = "startup";

/// Callers that fill the fixture.
const CALLERS: usize = 64;

/// Written when the fixture is whole.
const WHOLE: &str = "whole";

/// One start.
#[derive(Debug, Clone, Copy)]
struct Started {
    until_serving_ms: f64,
    resident_mib: f64,
    peak_mib: f64,
}

/// Starts after writing, and starts after nothing was written.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let count = bench.scale.conversations;
    let fixture = fixture(bench).await?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.repetitions {
        let store = bench.scratch("startup")?;
        copy(&fixture, &store)?;
        first.push(start(bench, &store).await?);
        again.push(start(bench, &store).await?);
        clear(bench)?;
    }
    let bytes = vec![size_bytes(&fixture)? / 1024.0 / 1024.0];
    let mut figures = vec![Figure::new(SECTION, format!("{count} conversations on disk"), Unit::MiB, bytes)];
    for (case, starts) in [("first start after they were written", first), ("later start", again)] {
        let of = |aspect: fn(&Started) -> f64| starts.iter().map(aspect).collect::<Vec<f64>>();
        let figure = |aspect: &str, unit, values| Figure::new(SECTION, format!("{case}: {aspect}"), unit, values);
        figures.push(
            figure("until SERVING", Unit::Millis, of(|start| start.until_serving_ms)).mark(Mark::AtMost(2_000.0)),
        );
        figures.push(figure("memory", Unit::MiB, of(|start| start.resident_mib)));
        figures.push(figure("most memory until then", Unit::MiB, of(|start| start.peak_mib)));
    }
    Ok(figures)
}

async fn start(bench: &Bench, store: &Path) -> Result<Started> {
    let service = Service::start(&setup(bench, store, true)).await?;
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    let started = Started {
        until_serving_ms: service.started_in.as_secs_f64() * 1e3,
        resident_mib: mib(service.pid().resident_bytes()?),
        peak_mib: mib(service.pid().peak_bytes()?),
    };
    let mut client = grpc::clients(service.uri(), 1).await?.remove(0);
    let page = client.list_conversations(ListConversationsRequest::default()).await?.into_inner();
    if page.conversations.is_empty() {
        return Err("the service started with an empty store".into());
    }
    service.stop().await?;
    Ok(started)
}

/// The store with all conversations, made if it is not there. It is kept between runs, and never started itself.
async fn fixture(bench: &Bench) -> Result<PathBuf> {
    let name = format!("conversations-{}-{}", env!("CARGO_PKG_VERSION"), bench.scale.conversations);
    let folder = bench.home.join(name);
    let (store, whole) = (folder.join("store"), folder.join(WHOLE));
    if whole.exists() {
        return Ok(store);
    }
    eprintln!("  storing {} conversations", bench.scale.conversations);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&store)?;
    let service = Service::start(&setup(bench, &store, false)).await?;
    fill(service.uri(), bench.scale.conversations).await?;
    service.stop().await?;
    fs::write(whole, "")?;
    Ok(store)
}

async fn fill(uri: &str, conversations: usize) -> Result<()> {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for client in grpc::clients(uri, CALLERS).await? {
        tasks.spawn(store_some(client, taken.clone(), conversations));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn store_some(mut client: Client, taken: Arc<AtomicUsize>, conversations: usize) -> Result<()> {
    loop {
        let index = taken.fetch_add(1, Ordering::Relaxed);
        if index >= conversations {
            return Ok(());
        }
        let request = import(exchange(question(index), answer(index)));
        grpc::completed(client.start(request).await?.into_inner())?;
    }
}

/// No provider is asked: all turns are stored as they are given.
fn setup(bench: &Bench, store: &Path, sync: bool) -> Setup {
    let provider = "http://127.0.0.1:9".to_owned();
    Setup { binary: bench.server.clone(), store: store.to_owned(), sync, provider, settings: Vec::new() }
}

/// Copies a folder to another one and waits for the disk, so that a start does not pay for the copy.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

fn size_bytes(folder: &Path) -> Result<f64> {
    let mut bytes = 0.0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_bytes(&entry.path())? } else { metadata.len() as f64 };
    }
    Ok(bytes)
}
