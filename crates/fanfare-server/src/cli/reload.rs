//! `fanfare reload`: a running server reads its configuration again.

use clap::Args;

use super::{Global, Outcome, Profile, output, running_server::RunningServer};
use crate::config::Config;

/// Make the running server reload its configuration.
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
        // With a URL and a key the file is not read: an error in it does not stop the command, since the server runs by an
        // earlier file.
        let config = match &self.server.url {
            Some(_) if self.server.key.is_some() => Config::default(),
            _ => global.load(&Profile::default())?.config,
        };
        output::text(self.server.reload(&config, self.dry_run)?);
        Ok(())
    }
}
