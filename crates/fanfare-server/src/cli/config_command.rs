//! `fanfare config check`, `show` and `default`.

use std::fmt::Write as _; // writing to a string cannot fail

use clap::{Args, Subcommand};
use fanfare_core::Registry;

use super::{Global, Outcome, Profile, block_on, output, reload, remote::RemoteServer, usage};
use crate::{
    config::{self, ConfigErrors, Loaded, Problem, Sources},
    serve, telemetry,
};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and report all errors in it
    Check(Check),
    /// Print the effective configuration and where each value was set, without secrets
    Show(Profile),
    /// Print a configuration file with every key, its default and its documentation
    Default,
}

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    profile: Profile,
    /// Also print the settings that a reload of the running server would change, and those that need a restart
    #[arg(long)]
    against_running: bool,
    #[command(flatten)]
    server: RemoteServer,
}

impl ConfigCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Check(check) => check.run(global),
            Self::Show(profile) => print(show(&global.sources(profile)?, global.registry)),
            Self::Default => {
                output::text(config::example(global.registry));
                Ok(())
            }
        }
    }
}

impl Check {
    fn run(&self, global: &Global) -> Outcome {
        if let Some(level) = &global.log_level {
            telemetry::filter(level).map_err(|reason| usage(format!("--log-level {level}: {reason}")))?;
        }
        let sources = global.sources(&self.profile)?;
        block_on(async { print(check(&sources, global.registry)) })?;
        if self.against_running {
            let config = global.load(&self.profile)?.config;
            output::text(reload::request(&self.server, &config, true)?);
        }
        Ok(())
    }
}

/// The text for standard output, and the warnings.
type Printed = Result<(String, Vec<Problem>), ConfigErrors>;

/// Prints `ok` and a summary, or all errors. Call it in a runtime; it neither connects nor binds nor writes.
fn check(sources: &Sources, registry: Registry) -> Printed {
    let loaded = config::load(sources, registry)?;
    serve::check(&loaded)?;
    Ok((summary(&loaded), loaded.warnings))
}

fn show(sources: &Sources, registry: Registry) -> Printed {
    let loaded = config::load(sources, registry)?;
    Ok((config::show(&loaded), loaded.warnings))
}

fn print(printed: Printed) -> Outcome {
    let (text, warnings) = printed.map_err(|errors| {
        let lines: Vec<_> = errors
            .problems
            .iter()
            .map(|error| format!("error: {error}"))
            .collect();
        usage(format!("the configuration cannot be used\n{}", lines.join("\n")))
    })?;
    output::text(text);
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut text = String::from("ok\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    line("file", file.as_deref().unwrap_or("none"));
    line("profile", &loaded.profile);
    for listener in &config.listener {
        let scheme = if listener.has_tls() { "wss" } else { "ws" };
        let dialects = match &listener.dialects[..] {
            [] => "HTTP only".to_owned(),
            dialects => dialects.join(", "),
        };
        line(
            "listener",
            &format!("{scheme}://{}{}  {dialects}", listener.bind, listener.prefix),
        );
    }
    let url = config.broker.url.as_ref().map(|url| format!(" at {url}"));
    let broker = format!("{}{}", config.broker.kind.name(), url.unwrap_or_default());
    line("broker", &broker);
    let resp = config.resp.bind.map(|bind| bind.to_string());
    line("resp", resp.as_deref().unwrap_or("off"));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{cli::CommandFailure, config::tests::fixture::released};

    fn sources(folder: &tempfile::TempDir, toml: &str) -> Sources {
        let file = folder.path().join("fanfare.toml");
        std::fs::write(&file, toml).unwrap();
        Sources {
            file: Some(file),
            ..Sources::default()
        }
    }

    #[tokio::test]
    async fn check_prints_ok_and_a_summary() {
        let folder = tempfile::tempdir().unwrap();
        let toml = "[broker]\nurl = \"redis://:hunter2@10.0.0.1/0\"\n[auth]\njwt_secret = \"hunter2 hunter2 hunter2 hunter2 hunter2\"\n";
        let sources = sources(&folder, toml);
        let file = sources.file.as_ref().unwrap().display().to_string();
        let expected = format!(
            "ok\n  file      {file}\n  profile   default\n  listener  ws://0.0.0.0:8081  notify\n  broker    redis at \
             redis://***@10.0.0.1/0\n  resp      off\n"
        );
        assert_eq!(check(&sources, released()), Ok((expected, Vec::new())));
    }

    #[tokio::test]
    async fn warnings_are_not_errors() {
        let folder = tempfile::tempdir().unwrap();
        let (text, warnings) = check(&sources(&folder, "auth.jwt_secret = \"short\""), released()).unwrap();
        assert!(text.starts_with("ok\n"));
        assert_eq!(warnings.len(), 1);
    }

    #[tokio::test]
    async fn all_errors_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(&folder, "nonsense = 1\nmore = 2\n");
        let file = sources.file.as_ref().unwrap().display().to_string();
        let expected = format!(
            "the configuration cannot be used\nerror: {file}:1: nonsense: unknown key\n\
             error: {file}:2: more: unknown key"
        );
        for printed in [check(&sources, released()), show(&sources, released())] {
            match print(printed) {
                Err(CommandFailure::Usage(text)) => assert_eq!(text, expected),
                _ => panic!("no error, or another exit code than 2"),
            }
        }
    }
}
