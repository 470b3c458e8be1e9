//! The running server of commands that have it reload, and the report that they print.

use std::fmt::Write as _; // writing to a string cannot fail

use clap::Args;

use super::{
    CommandFailure, block_on,
    remote::{self, RemoteApi},
};
use crate::{config::Config, http::ReloadReport};

/// The server to ask, and the key for it.
#[derive(Args, Default)]
pub(super) struct RunningServer {
    /// The server [default: the first listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// An API key of that server with the scope admin [default: the first of api.keys that it knows]
    #[arg(long, value_name = "KEY", env = "FANFARE_API_KEY", hide_env_values = true, value_parser = super::secret)]
    pub(super) key: Option<String>,
}

impl RunningServer {
    /// Makes the server reload, or only compare, and returns its report as lines.
    pub(super) fn reload(&self, config: &Config, dry_run: bool) -> Result<String, CommandFailure> {
        let path = if dry_run {
            "/api/v1/reload?dry_run=true"
        } else {
            "/api/v1/reload"
        };
        let url = self.url.as_deref();
        let api = RemoteApi::new(config, url, remote::keys(config, self.key.as_deref(), url))?;
        let answer = block_on(api.post(path, String::new()))?;
        let report: ReloadReport = serde_json::from_str(&answer).map_err(|_| {
            CommandFailure::Runtime("the server answered something else than a report".into())
        })?;
        Ok(lines(&report))
    }
}

fn lines(report: &ReloadReport) -> String {
    let (done, change) = if report.applied {
        ("reloaded", "changed")
    } else {
        ("a reload would succeed", "would change")
    };
    let mut text = format!("{done}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    line("file", report.file.as_deref().unwrap_or("none"));
    let list = |keys: &[String]| match keys {
        [] => "nothing".to_owned(),
        keys => keys.join(", "),
    };
    line(change, &list(&report.changed));
    line("needs restart", &list(&report.needs_restart));
    for warning in &report.warnings {
        line("warning", warning);
    }
    text
}
