//! `fanfare reload`: makes a running server reload its configuration. `fanfare config check` prints the same report.

use std::fmt::Write as _; // writing to a string cannot fail

use clap::Args;

use super::{CommandFailure, Global, Outcome, block_on, output, remote::RemoteServer};
use crate::{config::Config, http::ReloadReport};

#[derive(Args)]
pub(super) struct Reload {
    /// Only print the settings that a reload would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: RemoteServer,
}

impl Reload {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        // With a URL and a key, the command works even if the file has an error: it does not read it.
        let config = if self.server.is_complete() {
            Config::default()
        } else {
            global.config()?
        };
        output::text(request(&self.server, &config, self.dry_run)?);
        Ok(())
    }
}

/// Makes the server reload, or only compare, and returns its report as lines.
pub(super) fn request(
    server: &RemoteServer,
    config: &Config,
    dry_run: bool,
) -> Result<String, CommandFailure> {
    let query = if dry_run { "?dry_run=true" } else { "" };
    let api = server.api(config)?;
    let answer = block_on(api.post(&format!("/api/v1/reload{query}"), String::new()))?;
    let bad = |_| "the server's answer is not a report".to_owned();
    let report: ReloadReport = serde_json::from_str(&answer).map_err(bad)?;
    Ok(lines(&report))
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
