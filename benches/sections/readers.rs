//! Ten thousand readers of one turn that streams at a model's pace: whether its provider is held back, and what a reader costs.

use causerie::proto::event::Kind;
use tokio::time::Instant;

use super::{contest::clear, crowd::Crowd};
use crate::{
    Result,
    args::Bench,
    load::{direct::Direct, grpc},
    process::Helper,
    report::{Figure, Mark, Unit, ratios},
    roles,
    service::{Service, Setup},
    text,
};

const SECTION: &str = "readers";

/// Besides the readers there is their caller.
const SETTINGS: [(&str, &str); 1] = [("CAUSERIE_LIMITS_MAX_CALLS", "20000")];

/// What one turn gave.
#[derive(Debug, Default)]
struct Sample {
    /// Pieces a second, as the provider sent them.
    rate: f64,
    /// The longest that the provider waited until it was rid of a piece.
    held_ms: f64,
    /// From the last piece until the last reader had the end of the turn.
    behind_ms: f64,
    memory_kib: f64,
    cpu_us: f64,
    merged: f64,
}

/// Everything.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut alone, mut crowded) = (Vec::new(), Vec::new());
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        alone.push(measure(bench, 0).await?);
        clear(bench)?;
        crowded.push(measure(bench, bench.scale.readers).await?);
        clear(bench)?;
    }
    Ok(figures(bench.scale.readers, &alone, &crowded))
}

/// One turn with so many readers besides its caller.
async fn measure(bench: &Bench, readers: usize) -> Result<Sample> {
    let provider = Helper::start(roles::PACED, &[])?;
    let store = bench.scratch("readers")?;
    let address = format!("http://{}", provider.address());
    let settings = SETTINGS.to_vec();
    let setup = Setup { binary: bench.server.clone(), store, sync: true, provider: address, settings };
    let service = Service::start(&setup).await?;
    let mut client = grpc::clients(service.uri(), 1).await?.remove(0);
    let question = text::words(2, text::QUESTION_BYTES);
    let mut caller = client.stream_events(grpc::stream(question)).await?.into_inner();
    let turn_id = loop {
        let event = caller.message().await?.ok_or("the turn ended before it began")?;
        if grpc::deltas(&event) > 0 {
            break event.turn_id;
        }
    };
    let mut crowd = Crowd::start(&service).await?;
    let bytes = service.pid().resident_bytes()?;
    crowd.tell(&format!("turn {turn_id} {readers}")).await?;
    let memory = service.pid().resident_bytes()? - bytes;
    let provider = Direct::tool(provider.address())?;
    let cpu = service.pid().cpu()?;
    provider.get("go").await?;
    let begun = Instant::now();
    while let Some(event) = caller.message().await? {
        if matches!(event.kind, Some(Kind::ResponseDone(_))) {
            break;
        }
    }
    let tally = crowd.tell("end").await?;
    let (whole, cpu) = (begun.elapsed(), service.pid().cpu()? - cpu);
    let said = String::from_utf8(provider.get("took").await?.to_vec())?;
    let said: Vec<f64> = said.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [sent, took_us, longest_us] = said[..] else { return Err("the provider did not say".into()) };
    Ok(Sample {
        rate: sent * 1e6 / took_us,
        held_ms: longest_us / 1e3,
        behind_ms: whole.as_secs_f64() * 1e3 - took_us / 1e3,
        memory_kib: memory / readers as f64 / 1024.0,
        cpu_us: cpu.as_secs_f64() * 1e6 / tally.events,
        merged: tally.events / tally.messages,
    })
}

fn figures(readers: usize, alone: &[Sample], crowded: &[Sample]) -> Vec<Figure> {
    let of = |samples: &[Sample], aspect: fn(&Sample) -> f64| samples.iter().map(aspect).collect::<Vec<f64>>();
    let figure = |what: &str, unit, aspect| {
        Figure::new(SECTION, format!("{readers} readers of one turn: {what}"), unit, of(crowded, aspect))
    };
    let rate = |sample: &Sample| sample.rate;
    let kept = ratios(&of(crowded, rate), &of(alone, rate));
    let what = format!("{readers} readers of one turn: the provider's rate over that without them");
    vec![
        Figure::new(SECTION, "no reader but the caller: pieces sent by the provider", Unit::PerSecond, of(alone, rate)),
        figure("pieces sent by the provider", Unit::PerSecond, rate),
        Figure::new(SECTION, what, Unit::Number, kept).mark(Mark::AtLeast(0.98)),
        figure("the longest that the provider waited to be rid of a piece", Unit::Millis, |sample| sample.held_ms),
        figure("from the last piece until the last reader has the end", Unit::Millis, |sample| sample.behind_ms),
        figure("events in one message", Unit::Number, |sample| sample.merged),
        figure("processor time an event and reader", Unit::Micros, |sample| sample.cpu_us),
        figure("memory a reader", Unit::KiB, |sample| sample.memory_kib),
    ]
}
