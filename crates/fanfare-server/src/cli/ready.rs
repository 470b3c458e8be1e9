//! `fanfare ready`: asks a server whether it is ready, for the health check of a container that has no other program.

use clap::Args;

use super::{Global, Outcome, block_on, output, remote::RemoteApi};

#[derive(Args)]
pub(super) struct Ready {
    /// The server [default: the first listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Ready {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let api = RemoteApi::new(&config, self.url.as_deref(), Vec::new())?;
        block_on(api.get("/readyz"))?;
        output::line("ready");
        Ok(())
    }
}
