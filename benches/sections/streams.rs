//! Streams of 200 chunks at full speed: how soon the first delta comes, and how many chunks a second are relayed.

use super::contest::{Contender, LATENCY, Results, Sample, Stage, clear};
use crate::{
    Result,
    args::Bench,
    load::grpc,
    report::{Figure, Mark, Unit},
    roles::STREAM_CHUNKS,
};

const SECTION: &str = "streams";

/// Streams at once.
const STREAMS: [usize; 3] = [1, 64, 512];

/// Everything with the service.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    measure(bench, &[Contender::Direct, Contender::Durable]).await
}

/// What can be measured without it.
pub(crate) async fn floors(bench: &Bench) -> Result<Vec<Figure>> {
    measure(bench, &[Contender::Direct]).await
}

async fn measure(bench: &Bench, contenders: &[Contender]) -> Result<Vec<Figure>> {
    let mut results = Results::new();
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let stage = Stage::start(bench, contenders).await?;
        let mut order = contenders.to_vec();
        order.rotate_left(repetition % contenders.len());
        for streams in STREAMS {
            for contender in &order {
                results.push((streams, *contender), sample(bench, &stage, *contender, streams).await?);
            }
        }
        drop(stage);
        clear(bench)?;
    }
    let cases = STREAMS.into_iter().flat_map(|streams| contenders.iter().map(move |contender| (streams, *contender)));
    Ok(cases.flat_map(|(streams, contender)| figures(&results, streams, contender)).collect())
}

async fn sample(bench: &Bench, stage: &Stage, contender: Contender, streams: usize) -> Result<Sample> {
    let window = bench.scale.stream_window;
    if contender == Contender::Direct {
        return stage.sample(contender, stage.direct.streams(streams), bench, window).await;
    }
    let callers = grpc::streams(stage.service(contender)?.uri(), streams).await?;
    stage.sample(contender, callers, bench, window).await
}

fn figures(results: &Results<usize>, streams: usize, contender: Contender) -> Vec<Figure> {
    let key = (streams, contender);
    let figure = |aspect: &str, unit, values| {
        let plural = if streams == 1 { "" } else { "s" };
        Figure::new(SECTION, format!("{streams} stream{plural}: {}, {aspect}", contender.name()), unit, values)
    };
    let rate = figure("chunks", Unit::PerSecond, results.of(key, |sample| sample.rate));
    let first = match contender {
        // With many streams at full speed the first delta waits for all of the others': that says nothing about the way.
        _ if streams > 1 => vec![],
        Contender::Direct => {
            vec![figure("time to first byte, p50", LATENCY, results.of(key, |sample| sample.first_p50_us))]
        }
        _ => vec![
            figure("added time to first delta, p50", LATENCY, results.added(key, |sample| sample.first_p50_us)),
            figure("added time to first delta, p99", LATENCY, results.added(key, |sample| sample.first_p99_us)),
        ],
    };
    if contender == Contender::Direct {
        return [rate].into_iter().chain(first).collect();
    }
    let direct = results.of((streams, Contender::Direct), |sample| sample.rate);
    let rate = rate.beside(&direct, "direct");
    let rate = if streams == 64 { rate.mark(Mark::AtLeast(100_000.0)) } else { rate };
    let cpu = results.of(key, |sample| sample.cpu_us[1] * STREAM_CHUNKS as f64);
    let cpu = figure("processor time a stream of 200", LATENCY, cpu);
    [rate].into_iter().chain(first).chain([cpu]).collect()
}
