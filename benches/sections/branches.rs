//! What the thousandth branch of one conversation costs beside the first ones.

use std::time::Duration;

use causerie::proto::{ListEntriesRequest, RestartRequest, restart_request::Boundary};
use tokio::time::{Instant, sleep};

use super::{
    contest::{LATENCY, clear, provider, setup},
    fixture::{Growing, question},
};
use crate::{
    Result,
    args::Bench,
    load::grpc::{self, Client},
    process::Pid,
    report::{Figure, Unit},
    roles::Mode,
    service::Service,
    stats::Latencies,
    text,
};

const SECTION: &str = "growth";

/// Turns of the conversation, and the entry that all branches start from: the answer of its fifth turn.
const TURNS: usize = 10;
const ENTRY: usize = 9;

/// Branches whose cost is put together: some rounds of all message lengths.
const GROUP: usize = 3 * text::MIXED;

/// As in `growth`.
const SETTLE: Duration = Duration::from_millis(700);

/// What some branches cost, one at the median.
#[derive(Debug, Clone, Copy)]
struct Cost {
    written_bytes: f64,
    p50_us: f64,
}

/// Branches of one entry.
#[derive(Debug)]
struct Branching {
    client: Client,
    conversation_id: String,
    entry_id: String,
    made: usize,
}

/// The first branches and the last ones.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let count = bench.scale.branches;
    let mut costs: [Vec<Cost>; 2] = Default::default();
    for _ in 0..bench.scale.repetitions {
        let provider = provider()?;
        let service = Service::start(&setup(bench, "branches", &provider, Mode::Mixed, true)?).await?;
        let client = grpc::clients(service.uri(), 1).await?.remove(0);
        let mut branching = Branching::new(client).await?;
        costs[0].push(branching.measure(service.pid()).await?);
        while branching.made < count.saturating_sub(GROUP) {
            branching.branch().await?;
        }
        costs[1].push(branching.measure(service.pid()).await?);
        drop(service);
        clear(bench)?;
    }
    let [first, last] = costs;
    let written = |costs: &[Cost]| costs.iter().map(|cost| cost.written_bytes / 1024.0).collect::<Vec<_>>();
    let time = |costs: &[Cost]| costs.iter().map(|cost| cost.p50_us).collect::<Vec<_>>();
    let figure = |what: &str, unit, values| Figure::new(SECTION, format!("a branch, {what}"), unit, values);
    let lasts = format!("the last {GROUP} of {count}");
    Ok(vec![
        figure(&format!("the first {GROUP}: written to disk"), Unit::KiB, written(&first)),
        figure(&format!("the first {GROUP}: time"), LATENCY, time(&first)),
        figure(&format!("{lasts}: written to disk"), Unit::KiB, written(&last)).beside(&written(&first), "the first"),
        figure(&format!("{lasts}: time"), LATENCY, time(&last)).beside(&time(&first), "the first"),
    ])
}

impl Branching {
    async fn new(mut client: Client) -> Result<Branching> {
        let mut conversation = Growing::new(client.clone());
        conversation.grow_to(TURNS).await?;
        let conversation_id = conversation.version;
        let request = ListEntriesRequest { conversation_id: conversation_id.clone(), ..ListEntriesRequest::default() };
        let entries = client.list_entries(request).await?.into_inner().entries;
        let entry_id = entries.into_iter().nth(ENTRY).ok_or("the conversation has no such entry")?.id;
        Ok(Branching { client, conversation_id, entry_id, made: 0 })
    }

    async fn branch(&mut self) -> Result<()> {
        let request = RestartRequest {
            conversation_id: self.conversation_id.clone(),
            from_entry_id: self.entry_id.clone(),
            boundary: Boundary::AfterEntry.into(),
            input: question(self.made),
            ..RestartRequest::default()
        };
        grpc::completed(self.client.restart(request).await?.into_inner())?;
        self.made += 1;
        Ok(())
    }

    async fn measure(&mut self, service: Pid) -> Result<Cost> {
        sleep(SETTLE).await;
        let before = service.written_bytes()?;
        let mut calls = Vec::new();
        for _ in 0..GROUP {
            let begun = Instant::now();
            self.branch().await?;
            calls.push(begun.elapsed());
        }
        let written = service.written_bytes()? - before;
        Ok(Cost { written_bytes: written / GROUP as f64, p50_us: Latencies::new(calls).p50_us() })
    }
}
