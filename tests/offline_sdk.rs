//! Mistral's own Python SDK against the stand-in: where the SDK refuses our wire format, our format is wrong.

use std::time::Duration;

use causerie::offline::{Offline, Options};

use crate::support::outside::PYTHON;

#[tokio::test]
async fn the_official_sdk_understands_the_stand_in() {
    let offline = Offline::start_with(Options { pace: Duration::ZERO }).await.expect("a free port");
    PYTHON.check("mistral_sdk.py", offline.base_url()).await;
    offline.stop().await.expect("all connections end");
}
