//! `fanfare config check`, `show` and `default`.

use std::fmt::Write as _; // writing to a string cannot fail

use clap::{Args, Subcommand};
use fanfare_core::Registry;

use super::{Global, Outcome, Profile, reload::RunningServer, usage};
use crate::{
    config::{self, ConfigErrors, Loaded, Problem, Sources},
    serve, telemetry,
};

/// The exit code of bad arguments and bad configuration.
const BAD_CONFIGURATION: u8 = 2;

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
    /// Also print what a reload of the running server would change, and what needs a restart
    #[arg(long)]
    against_running: bool,
    #[command(flatten)]
    server: RunningServer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Output {
    stdout: String,
    stderr: String,
    code: u8,
}

impl ConfigCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let output = match self {
            Self::Check(check) => {
                if let Some(level) = &global.log_level {
                    telemetry::filter(level)
                        .map_err(|reason| usage(format!("--log-level {level}: {reason}")))?;
                }
                let sources = global.sources(&check.profile)?;
                super::block_on(async { Ok(self::check(&sources, global.registry)) })?
            }
            Self::Show(profile) => show(&global.sources(profile)?, global.registry),
            Self::Default => default(global.registry),
        };
        super::output::text(output.stdout);
        if output.code != 0 {
            let errors = output.stderr.trim_end();
            return Err(usage(format!("the configuration cannot be used\n{errors}")));
        }
        eprint!("{}", output.stderr);
        if let Self::Check(check) = self
            && check.against_running
        {
            let config = global.load(&check.profile)?.config;
            super::output::text(check.server.reload(&config, true)?);
        }
        Ok(())
    }
}

/// Prints `ok` and a summary, or all errors. Call it in a runtime; it neither connects nor binds nor writes.
fn check(sources: &Sources, registry: Registry) -> Output {
    with_loaded(sources, registry, |loaded| {
        serve::check(loaded).map(|()| summary(loaded))
    })
}

fn show(sources: &Sources, registry: Registry) -> Output {
    with_loaded(sources, registry, |loaded| Ok(config::show(loaded)))
}

fn default(registry: Registry) -> Output {
    Output {
        stdout: config::example(registry),
        ..Output::default()
    }
}

fn with_loaded(
    sources: &Sources,
    registry: Registry,
    print: impl Fn(&Loaded) -> Result<String, ConfigErrors>,
) -> Output {
    let printed = config::load(sources, registry).and_then(|loaded| Ok((print(&loaded)?, loaded)));
    match printed {
        Ok((stdout, loaded)) => Output {
            stdout,
            stderr: lines("warning", &loaded.warnings),
            code: 0,
        },
        Err(errors) => Output {
            stderr: lines("error", &errors.problems),
            code: BAD_CONFIGURATION,
            ..Output::default()
        },
    }
}

fn lines(what: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{what}: {problem}");
    }
    text
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
    use crate::config::tests::fixture::released;

    fn sources(folder: &tempfile::TempDir, toml: &str) -> Sources {
        let file = folder.path().join("fanfare.toml");
        std::fs::write(&file, toml).unwrap();
        Sources {
            file: Some(file),
            ..Sources::default()
        }
    }

    #[tokio::test]
    async fn check_says_ok_and_what_will_run() {
        let folder = tempfile::tempdir().unwrap();
        let toml = "[broker]\nurl = \"redis://:hunter2@10.0.0.1/0\"\n[auth]\njwt_secret = \"hunter2 hunter2 hunter2 hunter2 hunter2\"\n";
        let sources = sources(&folder, toml);
        let file = sources.file.as_ref().unwrap().display().to_string();
        let output = check(&sources, released());
        let expected = format!(
            "ok\n  file      {file}\n  profile   default\n  listener  ws://0.0.0.0:8081  notify\n  broker    redis at \
             redis://***@10.0.0.1/0\n  resp      off\n"
        );
        assert_eq!(
            output,
            Output {
                stdout: expected,
                ..Output::default()
            }
        );
    }

    #[tokio::test]
    async fn warnings_go_to_standard_error() {
        let folder = tempfile::tempdir().unwrap();
        let output = check(&sources(&folder, "auth.jwt_secret = \"short\""), released());
        assert_eq!(output.code, 0);
        assert!(output.stdout.starts_with("ok\n"));
        assert!(output.stderr.starts_with("warning: ") && output.stderr.lines().count() == 1);
    }

    #[tokio::test]
    async fn errors_are_all_told_with_exit_code_2() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(&folder, "nonsense = 1\nmore = 2\n");
        let file = sources.file.as_ref().unwrap().display().to_string();
        let stderr = format!("error: {file}:1: nonsense: unknown key\nerror: {file}:2: more: unknown key\n");
        let expected = Output {
            stdout: String::new(),
            stderr,
            code: 2,
        };
        assert_eq!(check(&sources, released()), expected);
        assert_eq!(show(&sources, released()), expected);
    }

    #[test]
    fn default_prints_the_example() {
        let output = default(released());
        assert!(output.stdout.contains("\n#ping_timeout = \"60s\"\n"));
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    }
}
