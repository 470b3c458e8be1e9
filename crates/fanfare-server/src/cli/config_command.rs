//! `fanfare config check`, `show` and `default`.

use std::fmt::Write as _; // writing to a string cannot fail

use fanfare_core::Registry;

use crate::{
    config::{self, ConfigErrors, Loaded, Problem, Sources},
    serve,
};

/// The exit code of bad arguments and bad configuration.
pub(super) const BAD_CONFIGURATION: u8 = 2;

/// The output of a command, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// The exit code.
    pub code: u8,
}

/// `fanfare config check`: prints `ok` and a summary, or all errors. Call it in a runtime.
///
/// It builds all parts of a server, and neither connects nor binds nor writes.
pub(super) fn check(sources: &Sources, registry: Registry) -> Output {
    with_loaded(sources, registry, |loaded| {
        serve::check(loaded).map(|()| summary(loaded))
    })
}

/// `fanfare config show`: prints the effective configuration, without secrets.
pub(super) fn show(sources: &Sources, registry: Registry) -> Output {
    with_loaded(sources, registry, |loaded| Ok(config::show(loaded)))
}

/// `fanfare config default`: prints the example file.
pub(super) fn default(registry: Registry) -> Output {
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
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    line("file", &file);
    line("profile", &loaded.profile);
    for listener in &config.listener {
        let scheme = if listener.has_tls() { "wss" } else { "ws" };
        let dialects = if listener.dialects.is_empty() {
            "HTTP only".to_owned()
        } else {
            listener.dialects.join(", ")
        };
        line(
            "listener",
            &format!("{scheme}://{}{}  {dialects}", listener.bind, listener.prefix),
        );
    }
    let url = config
        .broker
        .url
        .as_ref()
        .map(|url| format!(" at {url}"))
        .unwrap_or_default();
    line("broker", &format!("{}{url}", config.broker.kind.name()));
    line(
        "resp",
        &config
            .resp
            .bind
            .map_or_else(|| "off".to_owned(), |bind| bind.to_string()),
    );
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
