//! Contenders for the same work, measured in turn within each repetition.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::{
    Result,
    args::Bench,
    load::{Caller, Window, closed_loop, direct::Direct},
    process::{Helper, Pid},
    report::Unit,
    roles::{self, Mode},
    service::{Service, Setup},
};

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The provider is asked directly.
    Direct,
    /// A hop that forwards, appends and shares an fdatasync.
    Hop,
    /// The service with the store's flush turned off.
    Relaxed,
    /// The service as it is.
    Durable,
}

/// What a contender did in a repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) first_p50_us: f64,
    pub(crate) first_p99_us: f64,
    pub(crate) rate: f64,
    /// Processor time for each call or chunk: of the callers, of what stands between, of the provider.
    pub(crate) cpu_us: [f64; 3],
}

/// A case, such as a number of callers, and who did it.
pub(crate) type Key<Case> = (Case, Contender);

/// Samples, one from each repetition.
#[derive(Debug)]
pub(crate) struct Results<Case> {
    samples: BTreeMap<Key<Case>, Vec<Sample>>,
}

/// The processes of one repetition. All but the provider and the hop are fresh.
#[derive(Debug)]
pub(crate) struct Stage {
    provider: Helper,
    hop: Option<Helper>,
    relaxed: Option<Service>,
    durable: Option<Service>,
    pub(crate) direct: Direct,
}

impl Contender {
    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Direct => "direct",
            Contender::Hop => "bare hop",
            Contender::Relaxed => "flush off",
            Contender::Durable => "durable",
        }
    }
}

/// The stand-in.
pub(crate) fn provider() -> Result<Helper> {
    Helper::start(roles::PROVIDER, &[])
}

/// A service with a store of this name that asks this provider.
pub(crate) fn setup(bench: &Bench, name: &str, provider: &Helper, mode: Mode, sync: bool) -> Result<Setup> {
    let store = bench.scratch(name)?;
    let provider = format!("http://{}/{mode}", provider.address());
    Ok(Setup { binary: bench.server.clone(), store, sync, provider, settings: Vec::new() })
}

impl Stage {
    /// Starts what these contenders need.
    pub(crate) async fn start(bench: &Bench, contenders: &[Contender]) -> Result<Stage> {
        Stage::start_with(bench, contenders, Mode::Turn, &[]).await
    }

    /// The same with a provider that answers so, and more settings of the service.
    pub(crate) async fn start_with(
        bench: &Bench,
        contenders: &[Contender],
        mode: Mode,
        settings: &[(&'static str, &'static str)],
    ) -> Result<Stage> {
        let provider = provider()?;
        let direct = Direct::new(provider.address(), mode)?;
        let service = async |sync: bool| {
            let name = if sync { "durable" } else { "relaxed" };
            let setup = setup(bench, name, &provider, mode, sync)?;
            Service::start(&Setup { settings: settings.to_vec(), ..setup }).await
        };
        let (mut hop, mut relaxed, mut durable) = (None, None, None);
        for contender in contenders {
            match contender {
                Contender::Direct => {}
                Contender::Hop => hop = Some(bare_hop(bench, &provider)?),
                Contender::Relaxed => relaxed = Some(service(false).await?),
                Contender::Durable => durable = Some(service(true).await?),
            }
        }
        Ok(Stage { provider, hop, relaxed, durable, direct })
    }

    /// The hop as if it were the provider.
    pub(crate) fn through_hop(&self) -> Result<Direct> {
        let hop = self.hop.as_ref().ok_or("the hop was not started")?;
        Direct::new(hop.address(), Mode::Turn)
    }

    /// The service.
    pub(crate) fn service(&self, contender: Contender) -> Result<&Service> {
        let service = match contender {
            Contender::Relaxed => &self.relaxed,
            Contender::Durable => &self.durable,
            Contender::Direct | Contender::Hop => &None,
        };
        service.as_ref().ok_or_else(|| format!("{} was not started", contender.name()).into())
    }

    /// Lets the callers ask for a while and notes what it cost whom.
    pub(crate) async fn sample<C: Caller>(
        &self,
        contender: Contender,
        callers: Vec<C>,
        bench: &Bench,
        window: Duration,
    ) -> Result<Sample> {
        let before = self.cpu_us(contender)?;
        let done = closed_loop(callers, bench.scale.warm_up, window).await?;
        let after = self.cpu_us(contender)?;
        let share = |index: usize| (after[index] - before[index]) / done.carried as f64;
        Ok(Sample::new(&done, [share(0), share(1), share(2)]))
    }

    fn cpu_us(&self, contender: Contender) -> Result<[f64; 3]> {
        let between = match contender {
            Contender::Direct => None,
            Contender::Hop => self.hop.as_ref().map(Helper::pid),
            Contender::Relaxed | Contender::Durable => Some(self.service(contender)?.pid()),
        };
        let us = |pid: Option<Pid>| pid.map_or(Ok(0.0), |pid| pid.cpu().map(|time| time.as_secs_f64() * 1e6));
        Ok([us(Some(Pid::own()))?, us(between)?, us(Some(self.provider.pid()))?])
    }
}

impl Sample {
    fn new(window: &Window, cpu_us: [f64; 3]) -> Sample {
        Sample {
            p50_us: window.whole.p50_us(),
            p99_us: window.whole.p99_us(),
            first_p50_us: window.first.p50_us(),
            first_p99_us: window.first.p99_us(),
            rate: window.rate,
            cpu_us,
        }
    }
}

impl<Case: Copy + Ord> Results<Case> {
    /// None yet.
    pub(crate) fn new() -> Results<Case> {
        Results { samples: BTreeMap::new() }
    }

    /// Adds a repetition's sample.
    pub(crate) fn push(&mut self, key: Key<Case>, sample: Sample) {
        self.samples.entry(key).or_default().push(sample);
    }

    /// One aspect of all repetitions.
    pub(crate) fn of(&self, key: Key<Case>, aspect: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.get(&key).into_iter().flatten().map(aspect).collect()
    }

    /// What a contender adds to the direct call in the same repetition.
    pub(crate) fn added(&self, key: Key<Case>, aspect: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let direct = self.of((key.0, Contender::Direct), &aspect);
        self.of(key, aspect).iter().zip(direct).map(|(own, direct)| own - direct).collect()
    }
}

/// The unit of a latency of about this size.
pub(crate) const LATENCY: Unit = Unit::Micros;

fn bare_hop(bench: &Bench, provider: &Helper) -> Result<Helper> {
    let file = bench.scratch("hop")?.join("records");
    let file = file.to_str().ok_or("the scratch folder's name is no text")?;
    Helper::start(roles::HOP, &[&provider.address().to_string(), file])
}

/// Frees the disk of a repetition's stores before the next one makes its own.
pub(crate) fn clear(bench: &Bench) -> Result<()> {
    fs::remove_dir_all(&bench.scratch)?;
    Ok(fs::create_dir_all(&bench.scratch)?)
}
