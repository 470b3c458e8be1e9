//! `fanfare config check`, `show` and `default`.

use std::fmt::Write as _; // writing to a string cannot fail

use crate::config::{self, DialectInfo, Loaded, Problem, Sources};

/// The exit code of bad arguments and bad configuration.
pub const BAD_CONFIGURATION: u8 = 2;

/// What a command prints, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// The exit code.
    pub code: u8,
}

/// `fanfare config check`: `ok` and a summary, or everything that is wrong.
pub fn check(sources: &Sources, dialects: &[DialectInfo]) -> Output {
    with_loaded(sources, dialects, summary)
}

/// `fanfare config show`: the effective configuration, without secrets.
pub fn show(sources: &Sources, dialects: &[DialectInfo]) -> Output {
    with_loaded(sources, dialects, |loaded| config::show(loaded, dialects))
}

/// `fanfare config default`: the example file.
pub fn default(dialects: &[DialectInfo]) -> Output {
    Output {
        stdout: config::example(dialects),
        ..Output::default()
    }
}

fn with_loaded(sources: &Sources, dialects: &[DialectInfo], print: impl Fn(&Loaded) -> String) -> Output {
    match config::load(sources, dialects) {
        Ok(loaded) => Output {
            stdout: print(&loaded),
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
        let scheme = if listener.tls.is_some() { "wss" } else { "ws" };
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
