//! `fanfare config`.

use clap::Subcommand;

use super::{Global, Outcome};

/// Check, show or explain the configuration.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and tell everything that is wrong with it
    Check,
}

impl ConfigCommand {
    #[allow(clippy::print_stdout, reason = "the verdict is what the command is for")]
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let Self::Check = self;
        global.load(None)?;
        println!("ok");
        Ok(())
    }
}
