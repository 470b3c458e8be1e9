//! `fanfare ready`: the health check of a container that has no other program.

use clap::Args;

use super::{Global, Outcome, Profile, block_on, output, remote::RemoteApi};

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
        let api = RemoteApi::new(&config, self.url.as_deref(), Vec::new())?;
        block_on(api.get("/readyz"))?;
        output::line("ready");
        Ok(())
    }
}
