//! What guarding the provider costs where nothing goes wrong, and what it gains where twice as much is asked as is allowed.

use std::time::Duration;

use reqwest::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep_until},
};
use tonic::{Code, Request};

use super::contest::{LATENCY, clear, provider, setup};
use crate::{
    Result,
    args::Bench,
    load::{closed_loop, grpc},
    process::Helper,
    report::{Figure, Mark, Unit},
    roles::{self, Mode, REQUESTS_A_MINUTE},
    service::{Service, Setup},
};

const SECTION: &str = "forwarding";

/// Nothing between a turn and its provider that can be left out.
const BARE: [(&str, &str); 2] = [("CAUSERIE_BREAKER_ENABLED", "false"), ("CAUSERIE_RETRY_MAX_ATTEMPTS", "1")];

/// Everything, with limits that are never met.
const GUARDED: [(&str, &str); 3] = [
    ("CAUSERIE_PROVIDERS_MISTRAL_REQUESTS_PER_MINUTE", "10000000"),
    ("CAUSERIE_PROVIDERS_MISTRAL_TOKENS_PER_MINUTE", "1000000000000"),
    ("CAUSERIE_FALLBACK_MODELS", "mistral-large-latest"),
];

/// Windows of each of the two, in turn: what is looked for is a few microseconds of some hundred.
const ROUNDS: usize = 15;

/// A turn waits so long for its place.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often as much as is allowed is asked.
const TIMES: u32 = 2;

/// Everything.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = overhead(bench).await?;
    figures.extend(goodput(bench).await?);
    Ok(figures)
}

async fn overhead(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut bare, mut guarded) = (Vec::new(), Vec::new());
    for repetition in 0..bench.scale.repetitions {
        eprintln!("  repetition {} of {}", repetition + 1, bench.scale.repetitions);
        let provider = provider()?;
        let start = async |name: &str, settings: &[(&'static str, &'static str)]| {
            let setup = setup(bench, name, &provider, Mode::Turn, false)?;
            Service::start(&Setup { settings: settings.to_vec(), ..setup }).await
        };
        let services = [start("bare", &BARE).await?, start("guarded", &GUARDED).await?];
        let mut medians = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            // Each is first as often as the other.
            for which in [round % 2, 1 - round % 2] {
                let callers = grpc::turns(services[which].uri(), 1, 1).await?;
                let window = closed_loop(callers, bench.scale.warm_up, bench.scale.window / 2).await?;
                medians[which].push(window.whole.p50_us());
            }
        }
        let [of_bare, of_guarded] = medians.map(|values| crate::stats::Spread::of(&values).median);
        bare.push(of_bare);
        guarded.push(of_guarded);
        drop(services);
        drop(provider);
        clear(bench)?;
    }
    let added = guarded.iter().zip(&bare).map(|(guarded, bare)| guarded - bare).collect();
    Ok(vec![
        Figure::new(SECTION, "1 caller, flush off: turn p50, no limits, breaker and retries", LATENCY, bare),
        Figure::new(SECTION, "limits, breaker and retries add to it, p50", LATENCY, added).mark(Mark::AtMost(20.0)),
    ])
}

/// A minute to learn the limit and use it up, then a minute that counts.
async fn goodput(bench: &Bench) -> Result<Vec<Figure>> {
    let provider = Helper::start(roles::LIMITED, &[])?;
    let setup = setup(bench, "limited", &provider, Mode::Turn, true)?;
    let service = Service::start(&setup).await?;
    let clients = grpc::clients(service.uri(), 32).await?;
    let minute = bench.scale.minute;
    let begun = Instant::now();
    let mut every = interval(Duration::from_secs(60) / u32::try_from(REQUESTS_A_MINUTE)? / TIMES);
    let mut calls = JoinSet::new();
    let mut asked = 0;
    while begun.elapsed() < 2 * minute {
        every.tick().await;
        let mut client = clients[asked % clients.len()].clone();
        asked += 1;
        calls.spawn(async move {
            let mut request = Request::new(grpc::start("Is it?".to_owned()));
            request.set_timeout(PATIENCE);
            (client.start(request).await.map(drop), Instant::now())
        });
    }
    sleep_until(begun + 2 * minute).await;
    let stats = Client::builder().no_proxy().tls_certs_only([]).build()?;
    let refused: f64 = stats.get(format!("http://{}/", provider.address())).send().await?.text().await?.parse()?;
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        match call? {
            (Ok(()), at) if (begun + minute..begun + 2 * minute).contains(&at) => answered += 1,
            (Ok(()), _) => {}
            // Told that it came too late, or gone before it was told.
            (Err(status), _)
                if matches!(status.code(), Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled) => {}
            (Err(status), _) => return Err(status.into()),
        }
    }
    drop(service);
    clear(bench)?;
    let share = f64::from(answered) / REQUESTS_A_MINUTE as f64;
    Ok(vec![
        Figure::new(SECTION, "twice the allowed rate: turns of a minute, of those allowed", Unit::Number, vec![share])
            .mark(Mark::AtLeast(0.9)),
        Figure::new(SECTION, "twice the allowed rate: refusals (429) in two minutes", Unit::Number, vec![refused])
            .mark(Mark::AtMost(1.0)),
    ])
}
