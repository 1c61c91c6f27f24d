//! Mistral's own Python SDK against the stand-in: where the SDK refuses our wire format, our format is wrong.

use std::path::Path;
use std::process::Command;

use causerie::offline::{Offline, Options};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mistral_sdk.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_understands_the_stand_in() {
    let Some(python) = std::env::var_os("CAUSERIE_PYTHON") else {
        println!(
            "SKIPPED mistral_sdk: CAUSERIE_PYTHON is not set. To enable: python3 -m venv VENV && \
             VENV/bin/pip install -r tests/clients/requirements.txt && CAUSERIE_PYTHON=VENV/bin/python cargo test offline_sdk"
        );
        return;
    };
    assert!(Path::new(SCRIPT).exists());
    let offline = Offline::start_with(Options { pace: std::time::Duration::ZERO }).await.expect("a free port");
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(offline.base_url());
    let run = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = run.expect("CAUSERIE_PYTHON names a Python");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success() && out.contains(" passed, 0 failed"), "the SDK's checks failed");
    offline.stop().await.expect("all connections end");
}
