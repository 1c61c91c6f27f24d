//! How long after a turn's acknowledgement a watcher is told of it, and what a thousand watchers cost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use causerie::proto::{ChangeKind, WatchRequest, watch_service_client::WatchServiceClient};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tonic::transport::Endpoint;

use super::{
    contest::{clear, provider, setup},
    crowd::Crowd,
};
use crate::{
    Result,
    args::Bench,
    load::{Caller, Meter, closed_loop, grpc},
    report::{Figure, Mark, Unit},
    roles::Mode,
    service::Service,
    stats::Latencies,
    text,
};

const SECTION: &str = "watch";

/// Callers at once.
const CALLERS: usize = 64;

/// Turns a second with many watchers: each of them is told of each turn.
const CALM: f64 = 20.0;

/// How long the last turns may take to be told.
const PATIENCE: Duration = Duration::from_secs(30);

type Times = Arc<Mutex<HashMap<String, Instant>>>;

/// What one window gave.
#[derive(Debug)]
struct Sample {
    rate: f64,
    after_answer: Latencies,
    after_end: Latencies,
    /// Processor time of the service, a second.
    cpu_share: f64,
    resident: f64,
}

/// Everything.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let watchers = bench.scale.watchers;
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let provider = provider()?;
        let service = Service::start(&setup(bench, "watch", &provider, Mode::Turn, true)?).await?;
        let [busy, calm, crowded] = &mut samples;
        busy.push(measure(bench, &service, bench.scale.watched_rate).await?);
        calm.push(measure(bench, &service, CALM).await?);
        let mut crowd = Crowd::start(&service).await?;
        crowd.tell(&format!("watch {watchers}")).await?;
        crowded.push(measure(bench, &service, CALM).await?);
        drop((crowd, service));
        clear(bench)?;
    }
    Ok(figures(bench, &samples))
}

/// Lets callers ask so often, with one watcher that notes when it is told.
async fn measure(bench: &Bench, service: &Service, rate: f64) -> Result<Sample> {
    let (answered, told) = (Times::default(), Times::default());
    let (after_end, seen) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(0));
    let mut count = seen.subscribe();
    let watcher = follow(service, told.clone(), after_end.clone(), seen).await?;
    let every = Duration::from_secs_f64(CALLERS as f64 / rate);
    let clients = grpc::clients(service.uri(), CALLERS).await?;
    let begun = Instant::now();
    let callers = clients.into_iter().enumerate().map(|(index, client)| Paced {
        client,
        question: text::words(2, text::QUESTION_BYTES),
        every,
        // Not all at once.
        due: begun + every * index as u32 / CALLERS as u32,
        answered: answered.clone(),
    });
    let cpu = service.pid().cpu()?;
    let window = closed_loop(callers.collect(), bench.scale.warm_up, bench.scale.stream_window).await?;
    let (cpu, lasted) = (service.pid().cpu()? - cpu, begun.elapsed());
    timeout(PATIENCE, count.wait_for(|seen| *seen >= window.carried)).await??;
    watcher.abort();
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    // Being told before the caller is no lag.
    let lag = |(id, answered): (&String, &Instant)| Some(told.get(id)?.saturating_duration_since(*answered));
    let counted = answered.iter().filter(|(_, at)| **at >= begun + bench.scale.warm_up);
    Ok(Sample {
        rate: window.rate,
        after_answer: Latencies::new(counted.filter_map(lag)),
        after_end: Latencies::new(std::mem::take(&mut *after_end.lock().unwrap_or_else(PoisonError::into_inner))),
        cpu_share: cpu.as_secs_f64() / lasted.as_secs_f64(),
        resident: service.pid().resident_bytes()?,
    })
}

/// A watcher that notes when it is told of the end of each turn, and how long ago that was.
async fn follow(
    service: &Service,
    told: Times,
    after_end: Arc<Mutex<Vec<Duration>>>,
    seen: watch::Sender<u64>,
) -> Result<JoinHandle<Result<()>>> {
    let channel = Endpoint::from_shared(service.uri().to_owned())?.connect().await?;
    let mut changes = WatchServiceClient::new(channel).watch(WatchRequest::default()).await?.into_inner();
    changes.message().await?.ok_or("a watch without its first message")?;
    Ok(tokio::spawn(async move {
        while let Some(response) = changes.message().await? {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let mut ages = after_end.lock().unwrap_or_else(PoisonError::into_inner);
            let ends = response.changes.into_iter().filter(|change| change.kind() == ChangeKind::VersionCreated);
            for change in ends {
                told.insert(change.turn_id, now);
                let ended = change.created_at.and_then(|at| SystemTime::try_from(at).ok());
                ages.extend(ended.and_then(|ended| wall.duration_since(ended).ok()));
            }
            seen.send_replace(told.len() as u64);
        }
        Ok(())
    }))
}

/// Asks for a first turn at fixed times, and notes when each was acknowledged.
#[derive(Debug)]
struct Paced {
    client: grpc::Client,
    question: String,
    every: Duration,
    due: Instant,
    answered: Times,
}

impl Caller for Paced {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        sleep_until(self.due).await;
        // Whoever is late asks at once, and is not on time for that.
        self.due = (self.due + self.every).max(Instant::now());
        let turn = grpc::completed(self.client.start(grpc::start(self.question.clone())).await?.into_inner())?;
        let now = Instant::now();
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(turn.id, now);
        meter.add(1);
        Ok(None)
    }
}

fn figures(bench: &Bench, [busy, calm, crowded]: &[Vec<Sample>; 3]) -> Vec<Figure> {
    let figure = |what: String, unit, samples: &[Sample], aspect: &dyn Fn(&Sample) -> f64| {
        Figure::new(SECTION, what, unit, samples.iter().map(aspect).collect())
    };
    let watchers = bench.scale.watchers;
    let target = Unit::PerSecond.show(bench.scale.watched_rate);
    let all = format!("{watchers} watchers");
    let one = |what: &str| format!("one watcher, {target} wanted: {what}");
    let each = |values: &dyn Fn(&Sample, &Sample) -> f64| -> Vec<f64> {
        calm.iter().zip(crowded).map(|(calm, crowded)| values(calm, crowded)).collect()
    };
    let (after, more) = ("a revision is told after its caller's answer", watchers as f64);
    let memory = each(&|calm, crowded| (crowded.resident - calm.resident) / more / 1024.0);
    let cost = each(&|calm, crowded| (crowded.cpu_share - calm.cpu_share) * 1e6 / (crowded.rate * more));
    vec![
        figure(one("turns"), Unit::PerSecond, busy, &|sample| sample.rate),
        figure(one(&format!("{after}, p50")), Unit::Millis, busy, &|sample| sample.after_answer.p50_us() / 1e3),
        figure(one(&format!("{after}, p99")), Unit::Millis, busy, &|sample| sample.after_answer.p99_us() / 1e3)
            .mark(Mark::AtMost(20.0)),
        figure(one("after the turn's end, p50"), Unit::Millis, busy, &|sample| sample.after_end.p50_us() / 1e3),
        figure(one("after the turn's end, p99"), Unit::Millis, busy, &|sample| sample.after_end.p99_us() / 1e3),
        figure(format!("{all}: turns"), Unit::PerSecond, crowded, &|sample| sample.rate),
        figure(format!("{all}: {after}, p99"), Unit::Millis, crowded, &|sample| sample.after_answer.p99_us() / 1e3),
        figure(format!("{all}: cores that the service uses"), Unit::Number, crowded, &|sample| sample.cpu_share),
        Figure::new(SECTION, format!("{all}: processor time a turn and watcher"), Unit::Micros, cost),
        Figure::new(SECTION, format!("{all}: memory a watcher"), Unit::KiB, memory),
    ]
}
