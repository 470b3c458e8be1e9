//! `fanfare trace`: the outcome of one event on all nodes, by the service API.

mod view;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{
    CommandFailure, Global, Outcome, block_on, output,
    remote::{RemoteApi, RemoteServer, with_query},
    usage,
};

/// The events that each node records for `--next`. Nodes may differ in which one is the first, so they record a few.
const EVENTS: u64 = 10;
const PAUSE: Duration = Duration::from_millis(300);
/// The time that the command waits until the sockets' peers have acknowledged the event.
const SETTLING: Duration = Duration::from_secs(3);

#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["event", "next"])))]
pub(super) struct Trace {
    /// The event's id; it must have been traced
    #[arg(value_name = "EVENT_ID")]
    event: Option<Uuid>,
    /// Arm a trace on all nodes, and show the next event
    #[arg(long)]
    next: bool,
    /// With only --next, trace the next event for this user; otherwise show why this user did or did not receive the event
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The next event on this channel, or on a channel that this pattern matches
    #[arg(long, value_name = "NAME", requires = "next")]
    channel: Option<String>,
    /// The next event for everyone
    #[arg(long, requires = "next")]
    everyone: bool,
    /// The time to wait for the next event, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: RemoteServer,
}

const PATH: &str = "/api/v1/trace";

impl Trace {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        if self.next && self.user.is_none() && self.channel.is_none() && !self.everyone {
            return Err(usage(
                "--next: expected also --user ID, --channel NAME or --everyone",
            ));
        }
        let config = global.config()?;
        let api = self.server.api(&config)?;
        let trace = block_on(async {
            match self.event {
                Some(event) => self.settled(&api, &event.to_string()).await,
                None => self.next(&api).await,
            }
        })?;
        if self.json {
            output::line(trace);
        } else {
            output::text(view::text(&trace, io::stdout().is_terminal()));
        }
        Ok(())
    }

    /// Arms a trace, and returns the trace of the first event that it records.
    async fn next(&self, api: &RemoteApi<'_>) -> Result<Value, CommandFailure> {
        let mut wanted = json!({ "events": EVENTS, "seconds": self.seconds });
        for (name, value) in [("user", &self.user), ("channel", &self.channel)] {
            if let Some(value) = value {
                wanted[name] = value.as_str().into();
            }
        }
        wanted["everyone"] = self.everyone.into();
        // From here on, an interrupt disarms the trace before the process ends.
        let mut interrupts =
            signal(SignalKind::interrupt()).map_err(|error| format!("cannot wait for signals: {error}"))?;
        let armed = read(&api.post(PATH, wanted.to_string()).await?)?;
        if armed["degraded"] == true {
            eprintln!("fanfare: not every node has answered; those that have not may record nothing");
        }
        eprintln!("waiting for the next event; stop with Ctrl-C");
        let id = armed["trace"].as_str().unwrap_or_default();
        let traced = async {
            let event = self.first(api, id).await?;
            self.settled(api, &event).await
        };
        let trace = tokio::select! {
            trace = traced => trace,
            _ = interrupts.recv() => Err("interrupted".into()),
        };
        // Otherwise nodes would continue to record without a reader. If it fails, the trace ends when it expires.
        let _ = api.delete(&format!("{PATH}/{id}")).await;
        trace
    }

    /// Waits for the first event that the armed trace records, and returns its id.
    async fn first(&self, api: &RemoteApi<'_>, armed: &str) -> Result<String, CommandFailure> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let path = format!("{PATH}?trace={armed}&limit=1000");
        loop {
            let found = read(&api.get(&path).await?)?;
            let events = found["events"].as_array();
            // The latest is the first in the list.
            let first = events.and_then(|events| events.last()?["id"].as_str());
            if let Some(first) = first {
                return Ok(first.to_owned());
            }
            if Instant::now() > until {
                return Err(format!("there was no such event in {} seconds", self.seconds).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the trace of `event`, once it no longer changes or its time is over.
    async fn settled(&self, api: &RemoteApi<'_>, event: &str) -> Result<Value, CommandFailure> {
        let path = with_query(&format!("{PATH}/{event}"), &[("user", self.user.as_deref())]);
        let until = Instant::now() + SETTLING;
        loop {
            let trace = read(&api.get(&path).await?)?;
            if Instant::now() > until || is_settled(&trace) {
                return Ok(trace);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns whether no node works on the event any more.
fn is_settled(trace: &Value) -> bool {
    let mut deliveries = trace["deliveries"].as_array().into_iter().flatten().peekable();
    let is_under_way = |connection: &Value| {
        matches!(
            connection["outcome"].as_str(),
            Some("queued" | "written" | "undecided")
        )
    };
    deliveries.peek().is_some()
        && deliveries.all(|delivery| {
            let mut connections = delivery["connections"].as_array().into_iter().flatten();
            delivery["shards"] == delivery["finished_shards"] && !connections.any(is_under_way)
        })
}

fn read(text: &str) -> Result<Value, CommandFailure> {
    Ok(serde_json::from_str(text).map_err(|_| "the server's answer is not JSON")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_settles() {
        let delivery = |finished: u64, outcome: &str| json!({"deliveries": [{"shards": 2, "finished_shards": finished, "connections": [{"outcome": outcome}]}]});
        for (trace, settled) in [
            (delivery(2, "acknowledged"), true),
            (delivery(2, "refused"), true),
            (delivery(1, "acknowledged"), false),
            (delivery(2, "written"), false),
            (delivery(2, "queued"), false),
            (json!({"deliveries": []}), false),
            (json!("<html>"), false),
        ] {
            assert_eq!(is_settled(&trace), settled, "{trace}");
        }
    }
}
