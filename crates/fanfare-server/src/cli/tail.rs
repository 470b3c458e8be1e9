//! `fanfare tail`: prints events live, by the service API.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    CommandFailure, Global, Outcome,
    answer_lines::AnswerLines,
    block_on,
    output::{self, Paint, shown},
    remote::{RemoteApi, RemoteServer, with_query},
};

/// The pause before a lost tail is opened again: each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["user", "channel", "everyone"])))]
pub(super) struct TailCommand {
    /// The events for this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The events on this channel, or on the channels that a pattern matches
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The events for everyone
    #[arg(long)]
    everyone: bool,
    /// Leave out the events' data; then a key with the scope read is enough
    #[arg(long)]
    no_data: bool,
    /// Stop after this many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print JSON lines even on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: RemoteServer,
}

enum TailEnd {
    /// The requested number of events has been printed.
    Done,
    /// The connection was lost, for this reason; so it is opened again.
    Lost(String),
}

/// Prints the lines of one tail after the other.
struct TailPrinter {
    is_json: bool,
    paint: Paint,
    left: u64,
    /// Whether a tail was open, so that a failure is worth another try.
    was_open: bool,
}

impl TailCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let parameters = [
            ("user", self.user.as_deref()),
            ("channel", self.channel.as_deref()),
            ("everyone", self.everyone.then_some("true")),
            ("data", (!self.no_data).then_some("true")),
        ];
        let path = with_query("/api/v1/tail", &parameters);
        let api = self.server.api(&config)?;
        let is_terminal = io::stdout().is_terminal();
        let mut printer = TailPrinter {
            is_json: self.json || !is_terminal,
            paint: Paint::new(is_terminal),
            left: self.count.unwrap_or(u64::MAX),
            was_open: false,
        };
        block_on(async {
            let mut pause = FIRST_PAUSE;
            loop {
                match printer.follow(&api, &path).await {
                    Ok(TailEnd::Done) => return Ok(()),
                    Ok(TailEnd::Lost(why)) => {
                        pause = FIRST_PAUSE;
                        eprintln!("fanfare: the tail was lost: {why}; events may be missing here");
                    }
                    Err(failure) if !printer.was_open => return Err(failure),
                    Err(CommandFailure::Usage(why) | CommandFailure::Runtime(why)) => {
                        eprintln!("fanfare: {why}; trying again");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        })
    }
}

impl TailPrinter {
    async fn follow(&mut self, api: &RemoteApi<'_>, path: &str) -> Result<TailEnd, CommandFailure> {
        let mut lines = AnswerLines::new(api.open(path, None).await?);
        loop {
            match lines.next().await? {
                Ok(line) => {
                    if let Some(ended) = self.line(&line)? {
                        return Ok(ended);
                    }
                }
                Err(why) => return Ok(TailEnd::Lost(why.into())),
            }
        }
    }

    /// Prints a line; returns how the tail ended, if it has.
    fn line(&mut self, line: &[u8]) -> Result<Option<TailEnd>, CommandFailure> {
        let bad = |_| "the server did not send a tail".to_owned();
        let read: Value = serde_json::from_slice(line).map_err(bad)?;
        if read.get("open").is_some() {
            self.was_open = true;
            eprintln!("listening; stop with Ctrl-C");
        } else if let Some(lost) = read["lost"].as_u64() {
            eprintln!("fanfare: {lost} events are missing here: more arrived than this tail shows");
        } else if let Some(end) = read.get("end") {
            let message = end["message"].as_str().map(shown).unwrap_or_default();
            if end["code"] == "SHUTTING_DOWN" {
                return Ok(Some(TailEnd::Lost(message)));
            }
            self.was_open = false; // another try would be refused
            return Err(format!("the server ended the tail: {message}").into());
        } else if read["event"].is_object() {
            if self.is_json {
                output::line(raw_event(line));
            } else {
                output::line(for_people(self.paint, &read["event"]));
            }
            self.left -= 1;
            return Ok((self.left == 0).then_some(TailEnd::Done));
        }
        Ok(None)
    }
}

/// Returns the event of a line, byte for byte.
fn raw_event(line: &[u8]) -> &str {
    #[derive(Deserialize)]
    struct EventLine<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    serde_json::from_slice::<EventLine<'_>>(line).map_or("", |line| line.event.get())
}

fn for_people(paint: Paint, event: &Value) -> String {
    // The time of day is enough for live events.
    let at = event["published_at"].as_str().unwrap_or_default();
    let at = at
        .split_once('T')
        .map_or(at, |(_, time)| time.trim_end_matches('Z'));
    let data = match event.get("data") {
        Some(data) => shown(&data.to_string()),
        None => paint.faint(&format!("{} bytes", event["data_bytes"])),
    };
    output::event(paint, event, at, &data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_for_people() {
        let plain = Paint::new(false);
        let event = |more: Value| {
            let mut event = json!({"published_at": "2026-01-02T03:04:05.678Z", "type": "t", "user": null,
                "channel": null, "sender": null, "data_bytes": 3});
            for (name, value) in more.as_object().into_iter().flatten() {
                event[name] = value.clone();
            }
            event
        };
        for (event, line) in [
            (
                event(json!({"channel": "chat.a", "data": {"a": "\u{1b}"}})),
                r#"03:04:05.678 chat.a t {"a":"\u001b"}"#,
            ),
            (
                event(json!({"user": "a\u{9b}nn", "sender": "bob"})),
                "03:04:05.678 @a\\u{9b}nn t by bob 3 bytes",
            ),
            (
                event(json!({"type": null, "data": 1})),
                "03:04:05.678 everyone - 1",
            ),
        ] {
            assert_eq!(for_people(plain, &event), line);
        }
    }

    #[test]
    fn numbers_stay_as_they_were_published() {
        let line = br#"{"event":{"data":1.00000000000000000001}}"#;
        assert_eq!(raw_event(line), r#"{"data":1.00000000000000000001}"#);
    }

    #[test]
    fn lines_of_a_tail() {
        let mut printer = TailPrinter {
            is_json: true,
            paint: Paint::new(false),
            left: 2,
            was_open: false,
        };
        for harmless in [
            r#"{"open":{"node":"x"}}"#,
            r#"{"lost":3}"#,
            r#"{"later":1}"#,
            r#"{"event":{}}"#,
        ] {
            assert!(
                matches!(printer.line(harmless.as_bytes()), Ok(None)),
                "{harmless}"
            );
        }
        assert!(printer.was_open);
        let stopping = br#"{"end":{"code":"SHUTTING_DOWN","message":"m"}}"#;
        assert!(matches!(printer.line(stopping), Ok(Some(TailEnd::Lost(_)))));
        assert!(matches!(
            printer.line(br#"{"event":{}}"#),
            Ok(Some(TailEnd::Done))
        ));
        assert!(
            printer
                .line(br#"{"end":{"code":"FORBIDDEN","message":"m"}}"#)
                .is_err()
        );
        assert!(!printer.was_open, "there is no other try");
        assert!(printer.line(b"<html>").is_err());
    }
}
