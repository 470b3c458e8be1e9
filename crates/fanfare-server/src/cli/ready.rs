//! `fanfare ready`: the health check of a container that has no other program.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Failure, Global, Outcome, Profile, block_on, output, remote};

/// Ask the server on this machine whether it is ready; exit with 1 if it is not.
#[derive(Args)]
pub(super) struct Ready {
    /// The server [default: the first listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Ready {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.load(&Profile::default())?.config;
        block_on(ask(remote::api(&config, self.url.as_deref(), "/readyz")?))
    }
}

async fn ask(url: String) -> Outcome {
    let client = remote::client(&url, Duration::from_secs(5))?;
    let answer = client.get(url).send().await.map_err(remote::failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(remote::failed)?;
    if status.is_success() {
        output::line("ready");
        return Ok(());
    }
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let reason = said["reason"].as_str().unwrap_or("no reason given");
    Err(Failure::Runtime(format!("the server answered {status}: {reason}")))
}
