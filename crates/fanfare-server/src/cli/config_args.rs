//! The arguments of `fanfare config`.

use clap::Subcommand;

use super::{CommandFailure, Global, Outcome, config_command as command, running_server::RunningServer};
use crate::telemetry;

/// Check, show or explain the configuration.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and report all errors in it
    Check(Check),
    /// Print the effective configuration and where each value was set, without secrets
    Show(Profile),
    /// Print a configuration file with every key, its default and its documentation
    Default,
}

/// The configuration to check, and the server to compare it with.
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    profile: Profile,
    /// Also print what a reload of the running server would change, and what needs a restart
    #[arg(long)]
    against_running: bool,
    #[command(flatten)]
    server: RunningServer,
}

/// The defaults to start from.
#[derive(clap::Args, Default)]
pub(super) struct Profile {
    /// A set of defaults: `default` or `production`. A dialect's name is `default` with `--dialect NAME`
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Serve only this dialect, on the first of its addresses; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) dialect: Vec<String>,
}

impl ConfigCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let output = match self {
            Self::Check(check) => {
                if let Some(level) = &global.log_level {
                    telemetry::filter(level)
                        .map_err(|reason| CommandFailure::Usage(format!("--log-level {level}: {reason}")))?;
                }
                let sources = global.sources(&check.profile)?;
                super::block_on(async { Ok(command::check(&sources, global.registry)) })?
            }
            Self::Show(profile) => command::show(&global.sources(profile)?, global.registry),
            Self::Default => command::default(global.registry),
        };
        super::output::text(output.stdout);
        if output.code == 0 {
            eprint!("{}", output.stderr);
            if let Self::Check(check) = self
                && check.against_running
            {
                let config = global.load(&check.profile)?.config;
                super::output::text(check.server.reload(&config, true)?);
            }
            return Ok(());
        }
        Err(CommandFailure::Usage(format!(
            "the configuration cannot be used\n{}",
            output.stderr.trim_end()
        )))
    }
}
