//! `fanfare history`: the kept events of a channel, of a user, or for everyone.

use std::io::{self, IsTerminal};

use clap::{ArgGroup, Args};
use fanfare_core::EVERYONE_CHANNEL;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Global, Outcome, block_on,
    output::{self, Paint, shown},
    remote::{RemoteServer, with_query},
};

#[derive(Args)]
#[command(group(ArgGroup::new("of").required(true).args(["user", "channel", "everyone"])))]
pub(super) struct HistoryCommand {
    /// The events for this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The events on this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The events for everyone
    #[arg(long)]
    everyone: bool,
    /// Only events after this cursor; with --reverse, before it
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// The number of events
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Print the newest first
    #[arg(long)]
    reverse: bool,
    /// Print JSON lines even on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: RemoteServer,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    recovered: bool,
}

impl HistoryCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let api = self.server.api(&config)?;
        let text = block_on(api.get(&self.path()))?;
        let bad = |_| "the server's answer is not a history".to_owned();
        let page: Page<'_> = serde_json::from_str(&text).map_err(bad)?;
        let is_terminal = io::stdout().is_terminal();
        let paint = Paint::new(is_terminal);
        for event in &page.events {
            if self.json || !is_terminal {
                output::line(event.get().replace(['\n', '\r'], " "));
            } else {
                output::line(for_people(paint, event));
            }
        }
        if !page.recovered {
            eprintln!(
                "fanfare: events are missing here: they are not kept any more, or --since is no cursor of this history"
            );
        }
        Ok(())
    }

    fn path(&self) -> String {
        let everyone = self.everyone.then_some(EVERYONE_CHANNEL);
        let limit = self.limit.to_string();
        let parameters = [
            ("user", self.user.as_deref()),
            ("channel", self.channel.as_deref().or(everyone)),
            ("since", self.since.as_deref()),
            ("limit", Some(&*limit)),
            ("reverse", self.reverse.then_some("1")),
        ];
        with_query("/api/v1/history", &parameters)
    }
}

fn for_people(paint: Paint, event: &RawValue) -> String {
    let read: Value = serde_json::from_str(event.get()).unwrap_or_default();
    let at = read["timestamp"].as_str().unwrap_or_default();
    let line = output::event(paint, &read, at, &shown(&read["data"].to_string()));
    let cursor = read["cursor"].as_str().map(shown).unwrap_or_default();
    format!("{line} {}", paint.faint(&cursor))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: HistoryCommand,
    }

    #[test]
    fn paths() {
        for (line, query) in [
            ("--channel chat.a", Some("channel=chat.a&limit=100")),
            (
                "--user ann --limit 5 --reverse",
                Some("user=ann&limit=5&reverse=1"),
            ),
            (
                "--everyone --since 1-a",
                Some("channel=notifications&since=1-a&limit=100"),
            ),
            ("", None),
            ("--user ann --everyone", None),
            ("--user ann --limit 0", None),
        ] {
            let read = Line::try_parse_from(std::iter::once("history").chain(line.split_whitespace()));
            let path = read.ok().map(|line| line.command.path());
            assert_eq!(
                path,
                query.map(|query| format!("/api/v1/history?{query}")),
                "{line}"
            );
        }
    }

    #[test]
    fn events_for_people() {
        let line = |text: &str| {
            let event: &RawValue = serde_json::from_str(text).expect("JSON");
            for_people(Paint::new(false), event)
        };
        assert_eq!(
            line(
                r#"{"channel":"chat.a","type":"t","data":{"a":"\u001b"},"sender":"bob","timestamp":"T","cursor":"1-a"}"#
            ),
            r#"T chat.a t by bob {"a":"\u001b"} 1-a"#
        );
        assert_eq!(
            line(r#"{"everyone":true,"type":null,"data":1,"timestamp":"T","cursor":"c"}"#),
            "T everyone - 1 c"
        );
    }
}
