//! The service under test: the real binary, in a process of its own, with its own defaults.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{Result, process::Pid};

/// How often a starting service is asked whether it is ready; also how exact a start-up time is.
const POLL: Duration = Duration::from_millis(2);

/// Longer than any start-up or shutdown that is worth a figure.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the service is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// The directory of its store.
    pub(crate) store: PathBuf,
    /// Whether a turn is acknowledged only when it is on disk.
    pub(crate) sync: bool,
    /// Where it finds its provider.
    pub(crate) provider: String,
    /// More settings, as environment variables.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

/// A running service. Dropped without [`Service::stop`] it is killed.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    uri: String,
    /// From the start of the process until its health said SERVING.
    pub(crate) started_in: Duration,
}

impl Service {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(setup: &Setup) -> Result<Service> {
        let address = free_address()?;
        let log = setup.store.with_extension("log");
        let begun = Instant::now();
        // Cleared, so that no setting of whoever runs the benchmark changes what is measured.
        let mut child = Command::new(&setup.binary)
            .arg("serve")
            .env_clear()
            .env("CAUSERIE_LISTEN", &address)
            .env("CAUSERIE_STORE_PATH", &setup.store)
            .env("CAUSERIE_STORE_SYNC", setup.sync.to_string())
            .env("CAUSERIE_PROVIDERS_MISTRAL_BASE_URL", &setup.provider)
            .env("MISTRAL_API_KEY", "none")
            .envs(setup.settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|error| format!("{}: {error}", setup.binary.display()))?;
        let uri = format!("http://{address}");
        let ready = until_serving(&mut child, &uri).await;
        let service = Service { child, uri, started_in: begun.elapsed() };
        match ready {
            Ok(()) => Ok(service),
            Err(error) => Err(format!("the service did not start: {error}; it said:\n{}", tail(&log)).into()),
        }
    }

    /// Where it listens.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Lets it end in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        // std has no SIGTERM, and unsafe code is forbidden here.
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(ended(status)),
                None => sleep(POLL).await,
            }
        }
        Err("the service did not end".into())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Errors: it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that was free a moment ago. The service is not asked for one, so that its output need not be parsed.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

async fn until_serving(child: &mut Child, uri: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Err(ended(status));
        }
        if serves(uri).await {
            return Ok(());
        }
        sleep(POLL).await;
    }
    Err("it was not ready in time".into())
}

async fn serves(uri: &str) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(uri.to_owned()) else { return false };
    let Ok(channel) = endpoint.connect().await else { return false };
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}

fn ended(status: ExitStatus) -> Box<dyn std::error::Error + Send + Sync> {
    format!("it ended: {status}").into()
}

/// The last lines of its log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
