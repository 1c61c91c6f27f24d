//! What a round of tools adds to a turn: the model asks, the tool runs, the result goes back. From the turn with a round the turn
//! without one is taken, and from that what the two hops take a caller who does nothing else.

use super::contest::{Contender, LATENCY, Results, Sample, Stage, clear};
use crate::{
    Result,
    args::Bench,
    load::direct::Direct,
    load::tools::{self, Exchanges},
    process::Helper,
    report::{Figure, Mark, Unit, ratios},
    roles::{self, Mode, Stamp},
    tooling::Use,
};

const SECTION: &str = "tools";

const CONTENDERS: [Contender; 3] = [Contender::Direct, Contender::Relaxed, Contender::Durable];

/// Tools are on the same machine here.
const SETTINGS: [(&str, &str); 1] = [("CAUSERIE_TOOLS_HTTP_ALLOW", "127.0.0.1")];

const NONE: Use = Use { calls: 0, rounds: 0 };
const ONE: Use = Use { calls: 1, rounds: 1 };
const FOUR: Use = Use { calls: 4, rounds: 1 };
const TEN: Use = Use { calls: 1, rounds: 10 };

/// How tools are used, callers at once.
type Case = (Use, usize);

const CASES: [Case; 6] = [(NONE, 1), (ONE, 1), (FOUR, 1), (TEN, 1), (NONE, CROWD), (ONE, CROWD)];

const CROWD: usize = 32;

/// Everything.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let mut results = Results::new();
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let stage = Stage::start_with(bench, &CONTENDERS, Mode::Tools, &SETTINGS).await?;
        let tool = Helper::start(roles::TOOL, &[])?;
        let mut order = CONTENDERS;
        order.rotate_left(repetition % CONTENDERS.len());
        for case in CASES {
            check_same_bytes(&stage, &tool, case.0).await?;
            for contender in order {
                let sample = sample(bench, &stage, &tool, contender, case).await?;
                results.push((case, contender), sample);
            }
        }
        drop(stage);
        clear(bench)?;
    }
    Ok(figures(&results))
}

async fn sample(
    bench: &Bench,
    stage: &Stage,
    tool: &Helper,
    contender: Contender,
    (of, callers): Case,
) -> Result<Sample> {
    let window = bench.scale.window;
    match contender {
        Contender::Direct => stage.sample(contender, exchanges(stage, tool, of)?.callers(callers), bench, window).await,
        Contender::Relaxed | Contender::Durable => {
            let callers = tools::turns(stage.service(contender)?.uri(), callers, tool.address(), of).await?;
            stage.sample(contender, callers, bench, window).await
        }
        Contender::Hop => Err("the bare hop knows no tools".into()),
    }
}

fn exchanges(stage: &Stage, tool: &Helper, of: Use) -> Result<Exchanges> {
    Ok(Exchanges::new(stage.direct.clone(), Direct::tool(tool.address())?, of))
}

/// Otherwise the times compare nothing: the last question holds all that was said before it.
async fn check_same_bytes(stage: &Stage, tool: &Helper, of: Use) -> Result<()> {
    let service = stage.service(Contender::Relaxed)?;
    let own = tools::turns(service.uri(), 1, tool.address(), of).await?.remove(0).ask().await?;
    let direct = exchanges(stage, tool, of)?.ask().await?;
    let bytes =
        |answer: &str| Stamp::read(answer).map(|stamp| stamp.body_bytes).ok_or("the answer is not the stand-in's");
    let (own, direct) = (bytes(&own)?, bytes(str::from_utf8(&direct)?)?);
    if own.abs_diff(direct) <= own / 50 {
        return Ok(());
    }
    Err(format!("with {of:?} the service sent {own} bytes, the direct calls {direct}").into())
}

fn figures(results: &Results<Case>) -> Vec<Figure> {
    let mut figures = Vec::new();
    let p50 = |sample: &Sample| sample.p50_us;
    let direct = |of| results.of(((of, 1), Contender::Direct), p50);
    push(&mut figures, "1 caller: two hops, directly, p50", minus(&direct(ONE), &direct(NONE)));
    for contender in [Contender::Relaxed, Contender::Durable] {
        lone(&mut figures, results, contender);
    }
    for contender in CONTENDERS {
        for of in [NONE, ONE] {
            crowd(&mut figures, results, contender, of);
        }
    }
    figures
}

/// What a lone caller's rounds take.
fn lone(figures: &mut Vec<Figure>, results: &Results<Case>, contender: Contender) {
    let over = |of, aspect: fn(&Sample) -> f64| {
        minus(&results.added(((of, 1), contender), aspect), &results.added(((NONE, 1), contender), aspect))
    };
    let p50 = |sample: &Sample| sample.p50_us;
    let p99 = |sample: &Sample| sample.p99_us;
    let name = |what: &str| format!("1 caller, {}: {what}", contender.name());
    let of = |of| results.of(((of, 1), contender), p50);
    push(figures, name("turn without tools, p50"), of(NONE));
    push(figures, name("turn with a round of one tool, p50"), of(ONE));
    let one = over(ONE, p50);
    let figure = Figure::new(SECTION, name("a round of one tool, over its two hops, p50"), LATENCY, one.clone());
    figures.push(if contender == Contender::Relaxed { figure.mark(Mark::AtMost(500.0)) } else { figure });
    push(figures, name("the same, p99"), over(ONE, p99));
    push(figures, name("a round of four tools side by side, over its hops, p50"), over(FOUR, p50));
    let ten: Vec<f64> = over(TEN, p50).iter().map(|us| us / TEN.rounds as f64).collect();
    push(figures, name("one of ten rounds, over its two hops, p50"), ten.clone());
    let ratio = Figure::new(SECTION, name("one of ten rounds, over the only round"), Unit::Number, ratios(&ten, &one));
    figures.push(if contender == Contender::Relaxed { ratio.mark(Mark::AtMost(1.1)) } else { ratio });
}

/// Turns a second, and what they take of the processor.
fn crowd(figures: &mut Vec<Figure>, results: &Results<Case>, contender: Contender, of: Use) {
    let key = ((of, CROWD), contender);
    let what = if of == NONE { "without tools" } else { "with a round of one tool" };
    let name = |aspect: &str| format!("{CROWD} callers, {}, {what}: {aspect}", contender.name());
    let rate = results.of(key, |sample| sample.rate);
    figures.push(Figure::new(SECTION, name("turns"), Unit::PerSecond, rate));
    if contender != Contender::Direct {
        push(figures, name("processor time a turn"), results.of(key, |sample| sample.cpu_us[1]));
    }
}

fn push(figures: &mut Vec<Figure>, what: impl Into<String>, values: Vec<f64>) {
    figures.push(Figure::new(SECTION, what, LATENCY, values));
}

/// Of the same repetitions, one by one.
fn minus(values: &[f64], of: &[f64]) -> Vec<f64> {
    values.iter().zip(of).map(|(value, of)| value - of).collect()
}
