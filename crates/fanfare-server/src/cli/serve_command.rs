//! `fanfare serve`.

use std::io::IsTerminal;

use clap::Args;

use super::{CommandFailure, Global, Outcome, Profile, bad_configuration};
use crate::{config::LogFormat, serve, telemetry};

#[derive(Args, Default)]
pub(super) struct Serve {
    #[command(flatten)]
    profile: Profile,
}

impl Serve {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let loaded = global.load(&self.profile)?;
        let filter = global.log_level.as_ref().unwrap_or(&loaded.log_filter);
        let for_people = match loaded.config.log.format {
            LogFormat::Auto => std::io::stderr().is_terminal(),
            LogFormat::Human => true,
            LogFormat::Json => false,
        };
        let log = telemetry::start(filter, for_people).map_err(CommandFailure::Usage)?;
        for warning in &loaded.warnings {
            tracing::warn!("configuration: {warning}");
        }
        let mut sources = global.sources(&self.profile)?;
        // A reload must read the same file, otherwise defaults would replace its rules and keys.
        sources.file = loaded.file.clone().or(sources.file);
        let start = serve::Start {
            loaded,
            sources,
            // The command line takes precedence over a reloaded file.
            log: global.log_level.is_none().then_some(log),
        };
        serve::run(start, &Self::own_command(global)).map_err(|error| match error {
            serve::RunError::Configuration(errors) => bad_configuration(&errors),
            serve::RunError::Runtime(text) => text.into(),
        })
    }

    /// Returns the command line of this binary with the same configuration, for the suggested commands.
    fn own_command(global: &Global) -> String {
        let binary = std::env::current_exe().ok();
        let here = std::env::current_dir().ok();
        let relative = binary.as_ref().zip(here.as_ref());
        let relative = relative.and_then(|(binary, here)| binary.strip_prefix(here).ok());
        let command = match (relative, &binary) {
            (Some(relative), _) => format!("./{}", relative.display()),
            (None, Some(binary)) => binary.display().to_string(),
            (None, None) => "fanfare".to_owned(),
        };
        let config = global.config.iter();
        let config = config.map(|config| format!("--config {}", config.display()));
        // A flag that may contain a secret is left out.
        let set = global.set.iter().filter(|set| !may_be_secret(set));
        let set = set.map(|set| format!("--set '{set}'"));
        let words: Vec<_> = std::iter::once(command).chain(config).chain(set).collect();
        words.join(" ")
    }
}

fn may_be_secret(set: &str) -> bool {
    let key = set.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let words = ["secret", "password", "key", "url"];
    words.iter().any(|word| key.contains(word))
}
