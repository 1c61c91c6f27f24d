//! Background turns: how many a second come through the workers, beside direct ones that ask the provider for streams, too.

use std::time::Duration;

use tokio::time::Instant;

use super::contest::{Contender, LATENCY, Stage, clear};
use crate::{
    Result,
    args::Bench,
    load::{Window, closed_loop, grpc},
    report::{Figure, Mark, Unit, ratios},
    roles::Mode,
};

const SECTION: &str = "background";

/// Callers at once.
const CALLERS: [usize; 2] = [32, 256];

/// As many workers as there are direct callers at most.
const SETTINGS: [(&str, &str); 3] = [
    ("CAUSERIE_BACKGROUND_MAX_RUNNING", "256"),
    ("CAUSERIE_BACKGROUND_MAX_RUNNING_PER_PROVIDER", "256"),
    ("CAUSERIE_BACKGROUND_MAX_QUEUED", "1000000"),
];

/// What one repetition gave, for a number of callers.
#[derive(Debug, Default)]
struct Rates {
    direct: Vec<f64>,
    queued: Vec<f64>,
    through: Vec<f64>,
    direct_us: Vec<f64>,
    through_us: Vec<f64>,
}

/// Everything.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let mut rates: Vec<Rates> = CALLERS.iter().map(|_| Rates::default()).collect();
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let stage = Stage::start_with(bench, &[Contender::Durable], Mode::Mixed, &SETTINGS).await?;
        for (callers, rates) in CALLERS.into_iter().zip(&mut rates) {
            direct(bench, &stage, callers, rates).await?;
            queued(bench, &stage, callers, rates).await?;
        }
        drop(stage);
        clear(bench)?;
    }
    Ok(CALLERS.into_iter().zip(rates).flat_map(|(callers, rates)| rates.figures(callers)).collect())
}

async fn direct(bench: &Bench, stage: &Stage, callers: usize, rates: &mut Rates) -> Result<()> {
    let service = stage.service(Contender::Durable)?;
    let callers = grpc::followed(service.uri(), callers).await?;
    let before = service.pid().cpu()?;
    let window: Window = closed_loop(callers, bench.scale.warm_up, bench.scale.window).await?;
    let spent = service.pid().cpu()? - before;
    rates.direct.push(window.rate);
    rates.direct_us.push(spent.as_secs_f64() * 1e6 / window.carried as f64);
    Ok(())
}

/// Queues turns for a while, then waits until the last one is done: all of them, over all of that time.
async fn queued(bench: &Bench, stage: &Stage, callers: usize, rates: &mut Rates) -> Result<()> {
    let service = stage.service(Contender::Durable)?;
    let callers = grpc::queued(service.uri(), callers).await?;
    let mut last = grpc::clients(service.uri(), 1).await?.remove(0);
    let (before, begun) = (service.pid().cpu()?, Instant::now());
    let window = closed_loop(callers, Duration::ZERO, bench.scale.window).await?;
    grpc::until_idle(&mut last).await?;
    let (took, spent) = (begun.elapsed(), service.pid().cpu()? - before);
    rates.queued.push(window.rate);
    rates.through.push(window.carried as f64 / took.as_secs_f64());
    rates.through_us.push(spent.as_secs_f64() * 1e6 / window.carried as f64);
    Ok(())
}

impl Rates {
    fn figures(self, callers: usize) -> Vec<Figure> {
        let Rates { direct, queued, through, direct_us, through_us } = self;
        let figure =
            |what: &str, unit, values| Figure::new(SECTION, format!("{callers} callers: {what}"), unit, values);
        let share = ratios(&through, &direct);
        vec![
            figure("direct turns, streamed", Unit::PerSecond, direct),
            figure("processor time of a direct turn", LATENCY, direct_us),
            figure("turns acknowledged as queued", Unit::PerSecond, queued),
            figure("turns through the workers, queueing included", Unit::PerSecond, through),
            figure("processor time of a background turn", LATENCY, through_us),
            figure("through the workers over direct", Unit::Number, share).mark(Mark::AtLeast(0.8)),
        ]
    }
}
