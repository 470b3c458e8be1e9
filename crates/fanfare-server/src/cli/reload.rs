//! `fanfare reload`: a running server reads its configuration again.

use clap::Args;

use super::{Global, Outcome, Profile, output, running_server::RunningServer};
use crate::config::Config;

/// Make the running server read its configuration again.
#[derive(Args)]
pub(super) struct Reload {
    /// Only print what a reload would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: RunningServer,
}

impl Reload {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        // A file with an error does not tell where the server is. Then the server may: it runs by an earlier one.
        let config = match &self.server.url {
            Some(_) if self.server.key.is_some() => Config::default(),
            _ => global.load(&Profile::default())?.config,
        };
        output::text(self.server.reload(&config, self.dry_run)?);
        Ok(())
    }
}
