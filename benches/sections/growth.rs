//! What a turn costs as its conversation grows: bytes written, time until the provider is called, time of the whole turn.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::{
    contest::{LATENCY, clear, provider, setup},
    fixture::{Growing, question},
};
use crate::{
    Result,
    args::Bench,
    load::{direct::Direct, grpc},
    process::Pid,
    report::{Figure, Mark, Unit, ratios},
    roles::{Mode, Stamp},
    service::Service,
    stats::Latencies,
    text,
};

const SECTION: &str = "growth";

/// Before bytes are counted: longer than the store's own half second, in which it may write by itself.
const SETTLE: Duration = Duration::from_millis(700);

/// What some turns at one depth cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    written_bytes: f64,
    until_called_us: f64,
    direct_until_called_us: f64,
    whole_us: f64,
    direct_us: f64,
    body_bytes: f64,
}

/// Turns at all depths.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let depths = &bench.scale.depths;
    let (mut costs, mut young) = (vec![Vec::new(); depths.len()], Vec::new());
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let provider = provider()?;
        let service = Service::start(&setup(bench, "growth", &provider, Mode::Mixed, true)?).await?;
        let direct = Direct::new(provider.address(), Mode::MixedDirect)?;
        let client = grpc::clients(service.uri(), 1).await?.remove(0);
        let mut conversation = Growing::new(client.clone());
        for (depth, costs) in depths.iter().zip(&mut costs) {
            conversation.grow_to(depth - 1).await?;
            sleep(SETTLE).await;
            costs.push(measure(&mut conversation, &direct, service.pid()).await?);
        }
        // In the same store, which has grown too: what is left of a difference is the conversation's.
        let mut conversation = Growing::new(client);
        conversation.grow_to(depths[0] - 1).await?;
        sleep(SETTLE).await;
        young.push(measure(&mut conversation, &direct, service.pid()).await?.written_bytes);
        drop(service);
        clear(bench)?;
    }
    Ok(figures(depths, &costs, &young))
}

/// As many turns as there are lengths of messages: every depth carries the same bytes.
async fn measure(conversation: &mut Growing, direct: &Direct, service: Pid) -> Result<Cost> {
    let (mut own, mut beside) = (Timings::default(), Timings::default());
    let before = service.written_bytes()?;
    for index in 0..text::MIXED {
        let question = question(index);
        conversation.body.push("user", &question);
        let body = conversation.body.finish(false);
        let clock = Clock::start();
        let answer = conversation.ask(question).await?;
        own.push(&clock, &answer)?;
        conversation.body.push("assistant", &answer);
        let clock = Clock::start();
        let answer = direct.ask(body).await?;
        beside.push(&clock, str::from_utf8(&answer)?)?;
    }
    let written = service.written_bytes()? - before;
    own.same_work_as(&beside)?;
    Ok(Cost {
        written_bytes: written / text::MIXED as f64,
        until_called_us: Latencies::new(own.until_called).p50_us(),
        direct_until_called_us: Latencies::new(beside.until_called).p50_us(),
        whole_us: Latencies::new(own.whole).p50_us(),
        direct_us: Latencies::new(beside.whole).p50_us(),
        body_bytes: own.body_bytes as f64 / text::MIXED as f64,
    })
}

/// When a call began, by both clocks: the provider's stamp is of the wall clock.
#[derive(Debug)]
struct Clock {
    wall: SystemTime,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Timings {
    until_called: Vec<Duration>,
    whole: Vec<Duration>,
    body_bytes: usize,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: SystemTime::now(), begun: Instant::now() }
    }
}

impl Timings {
    fn push(&mut self, clock: &Clock, answer: &str) -> Result<()> {
        self.whole.push(clock.begun.elapsed());
        let stamp = Stamp::read(answer).ok_or("the answer is not the stand-in's")?;
        self.until_called.push(stamp.first.duration_since(clock.wall)?);
        self.body_bytes += stamp.body_bytes;
        Ok(())
    }

    /// The same history must have been sent: otherwise the times compare nothing.
    fn same_work_as(&self, other: &Timings) -> Result<()> {
        let ratio = self.body_bytes as f64 / other.body_bytes as f64;
        if (0.9..1.1).contains(&ratio) {
            return Ok(());
        }
        let (own, direct) = (self.body_bytes, other.body_bytes);
        Err(format!("the service sent {own} bytes of history, the direct calls {direct}").into())
    }
}

fn figures(depths: &[usize], costs: &[Vec<Cost>], young: &[f64]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let first: Vec<f64> = costs[0].iter().map(|cost| cost.written_bytes).collect();
    for (depth, costs) in depths.iter().zip(costs) {
        let of = |aspect: fn(&Cost) -> f64| costs.iter().map(aspect).collect::<Vec<f64>>();
        let figure = |aspect: &str, unit, values| Figure::new(SECTION, format!("turn {depth}: {aspect}"), unit, values);
        let whole = ratios(&of(|cost| cost.whole_us), &of(|cost| cost.direct_us));
        let called = of(|cost| cost.until_called_us / 1e3);
        let called = figure("time until the provider is called", Unit::Millis, called);
        let called = called.beside(&of(|cost| cost.direct_until_called_us / 1e3), "direct");
        let whole = figure("whole turn over a direct call with the same body", Unit::Number, whole);
        figures.push(figure("body sent to the provider", Unit::KiB, of(|cost| cost.body_bytes / 1024.0)));
        let written = figure("written to disk", Unit::KiB, of(|cost| cost.written_bytes / 1024.0));
        figures.push(written.beside(&first.iter().map(|bytes| bytes / 1024.0).collect::<Vec<_>>(), "turn 10"));
        figures.push(if *depth == 1_000 { called.mark(Mark::AtMost(2.0)) } else { called });
        figures.push(figure("direct call", LATENCY, of(|cost| cost.direct_us)));
        figures.push(figure("whole turn", LATENCY, of(|cost| cost.whole_us)));
        figures.push(if *depth == 1_000 { whole.mark(Mark::AtMost(2.0)) } else { whole });
    }
    figures.extend(written_ratios(depths, costs, &first, young));
    figures
}

/// The last depth beside the first one: as it was, in a store of ten turns, and in the same store.
fn written_ratios(depths: &[usize], costs: &[Vec<Cost>], first: &[f64], young: &[f64]) -> Vec<Figure> {
    let (Some(depth), Some(costs)) = (depths.last(), costs.last()) else { return Vec::new() };
    let last: Vec<f64> = costs.iter().map(|cost| cost.written_bytes).collect();
    let ratio = |what: &str, of: &[f64]| {
        let what = format!("turn {depth}: written to disk, over {what}");
        Figure::new(SECTION, what, Unit::Number, ratios(&last, of)).mark(Mark::AtMost(1.1))
    };
    vec![
        ratio(&format!("turn {} in an empty store", depths[0]), first),
        ratio(&format!("turn {} of another conversation in the same store", depths[0]), young),
    ]
}
