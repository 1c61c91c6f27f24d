//! Turns a second, and what a turn adds to a direct call: durable, and with the flush off to show what durability costs.

use std::{collections::BTreeMap, time::Duration};

use super::contest::{Contender, LATENCY, Results, Sample, Stage, clear};
use crate::{
    Result,
    args::Bench,
    load::{closed_loop, grpc},
    machine,
    report::{Figure, Mark, Unit, ratios},
    syncs::Count,
};

const SECTION: &str = "turns";

/// Turns of each conversation: new ones only, and such that a history goes along.
const LENGTHS: [usize; 2] = [1, 10];

/// Turns of a conversation, callers at once.
type Case = (usize, usize);

/// Everything with the service.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    measure(bench, &[Contender::Direct, Contender::Hop, Contender::Relaxed, Contender::Durable]).await
}

/// What can be measured without it.
pub(crate) async fn floors(bench: &Bench) -> Result<Vec<Figure>> {
    measure(bench, &[Contender::Direct, Contender::Hop]).await
}

/// What the repetitions gave.
#[derive(Debug)]
struct Measured {
    results: Results<Case>,
    disk_rates: Vec<f64>,
    /// Turns for each sync of the disk, by callers.
    grouped: BTreeMap<usize, Vec<f64>>,
}

async fn measure(bench: &Bench, contenders: &[Contender]) -> Result<Vec<Figure>> {
    let mut measured = Measured { results: Results::new(), disk_rates: Vec::new(), grouped: BTreeMap::new() };
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let stage = Stage::start(bench, contenders).await?;
        measured.disk_rates.push(machine::disk(&bench.scratch, bench.scale.window)?.rate);
        // Another one is first each time: what one leaves behind, the disk's queue say, meets all of them.
        let mut order = contenders.to_vec();
        order.rotate_left(repetition % contenders.len());
        for case in cases(bench) {
            for contender in &order {
                let sample = sample(bench, &stage, *contender, case).await?;
                measured.results.push((case, *contender), sample);
            }
        }
        if contenders.contains(&Contender::Durable) {
            count_syncs(bench, &stage, &mut measured.grouped).await;
        }
        drop(stage);
        clear(bench)?;
    }
    Ok(measured.figures(bench, contenders))
}

async fn sample(bench: &Bench, stage: &Stage, contender: Contender, (length, callers): Case) -> Result<Sample> {
    let window = bench.scale.window;
    match contender {
        Contender::Direct => stage.sample(contender, stage.direct.unary(callers, length), bench, window).await,
        Contender::Hop => stage.sample(contender, stage.through_hop()?.unary(callers, length), bench, window).await,
        Contender::Relaxed | Contender::Durable => {
            let callers = grpc::turns(stage.service(contender)?.uri(), callers, length).await?;
            stage.sample(contender, callers, bench, window).await
        }
    }
}

/// In windows of their own, because counting costs. Where the machine can't count there is no figure, and a line says why.
async fn count_syncs(bench: &Bench, stage: &Stage, grouped: &mut BTreeMap<usize, Vec<f64>>) {
    for callers in &bench.scale.callers {
        match turns_a_sync(bench, stage, *callers).await {
            Ok(ratio) => grouped.entry(*callers).or_default().push(ratio),
            Err(error) => eprintln!("  syncs are not counted: {error}"),
        }
    }
}

async fn turns_a_sync(bench: &Bench, stage: &Stage, callers: usize) -> Result<f64> {
    let service = stage.service(Contender::Durable)?;
    let callers = grpc::turns(service.uri(), callers, 1).await?;
    let count = Count::begin(service.pid(), &bench.scratch)?;
    let window = closed_loop(callers, Duration::ZERO, bench.scale.window).await?;
    Ok(window.carried as f64 / count.end()?)
}

impl Measured {
    fn figures(&self, bench: &Bench, contenders: &[Contender]) -> Vec<Figure> {
        let disk = "appends of 2 KB, an fdatasync each, one writer";
        let mut figures = vec![Figure::new(SECTION, disk, Unit::PerSecond, self.disk_rates.clone())];
        for case in cases(bench) {
            for contender in contenders {
                self.push_figures(&mut figures, case, *contender);
            }
            if case.0 == 1 {
                figures.extend(self.grouped_figure(case.1));
            }
        }
        figures
    }

    fn push_figures(&self, figures: &mut Vec<Figure>, case: Case, contender: Contender) {
        let key = (case, contender);
        let of = |aspect: fn(&Sample) -> f64| self.results.of(key, aspect);
        let added = |aspect: fn(&Sample) -> f64| self.results.added(key, aspect);
        let mut push = |aspect: &str, unit, values| {
            figures.push(Figure::new(
                SECTION,
                format!("{}: {}, {aspect}", label(case), contender.name()),
                unit,
                values,
            ));
            figures.len() - 1
        };
        let rate = push("turns", Unit::PerSecond, of(|sample| sample.rate));
        if contender == Contender::Direct {
            push("p50", LATENCY, of(|sample| sample.p50_us));
            push("p99", LATENCY, of(|sample| sample.p99_us));
            return;
        }
        let p50 = push("added p50", LATENCY, added(|sample| sample.p50_us));
        push("added p99", LATENCY, added(|sample| sample.p99_us));
        push("processor time a turn", LATENCY, of(|sample| sample.cpu_us[1]));
        if case.1 == 256 {
            let others = of(|sample| sample.cpu_us[0] + sample.cpu_us[2]);
            push("processor time a turn of callers and provider", LATENCY, others);
        }
        match (contender, case.1) {
            (Contender::Durable, 32) => judge(&mut figures[rate], Mark::AtLeast(5_000.0)),
            (Contender::Durable, 256) => judge(&mut figures[rate], Mark::AtLeast(10_000.0)),
            (Contender::Relaxed, 1) => judge(&mut figures[p50], Mark::AtMost(300.0)),
            (Contender::Durable, 1) => figures.push(self.beside_hop(case)),
            _ => {}
        }
    }

    /// What durability and everything else add, beside what the bare hop adds.
    fn beside_hop(&self, case: Case) -> Figure {
        let p50 = |sample: &Sample| sample.p50_us;
        let hop = self.results.added((case, Contender::Hop), p50);
        let values = ratios(&self.results.added((case, Contender::Durable), p50), &hop);
        let what = format!("{}: added p50, durable over bare hop", label(case));
        Figure::new(SECTION, what, Unit::Number, values).mark(Mark::AtMost(1.5))
    }

    /// None where syncs were not counted.
    fn grouped_figure(&self, callers: usize) -> Option<Figure> {
        let values = self.grouped.get(&callers)?.clone();
        let what = format!("{}: durable, turns for each sync of the disk", label((1, callers)));
        let figure = Figure::new(SECTION, what, Unit::Number, values);
        Some(if callers == 256 { figure.mark(Mark::AtLeast(30.0)) } else { figure })
    }
}

fn cases(bench: &Bench) -> impl Iterator<Item = Case> {
    LENGTHS.into_iter().flat_map(|length| bench.scale.callers.iter().map(move |callers| (length, *callers)))
}

fn judge(figure: &mut Figure, mark: Mark) {
    figure.mark = Some(mark);
}

fn label((length, callers): Case) -> String {
    let turns = if length == 1 { "1 turn" } else { "10 turns" };
    let callers = if callers == 1 { "1 caller".to_owned() } else { format!("{callers} callers") };
    format!("{callers}, conversations of {turns}")
}
