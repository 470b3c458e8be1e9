//! Fairness: how late events for single users are while the server has something large to do for others.

use std::time::Duration;

use fanfare_core::Audience;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::{
    Options,
    client::{self, Upgrade},
    crowd::Crowd,
    door::{self, Door},
    figures::{Kind, Workload},
    listeners::Listeners,
    pulse::{self, Felt},
    requests::{self, Client, Until, flood},
    server::{self, Server},
};

const SIZES: [usize; 1] = [10_000];
/// The user whose events all connections of the fan-out receive. The pulse's users receive none of them.
const CROWDED: usize = pulse::USERS;
/// Other connections to the server: those of the pulse, and a few more.
const OTHERS: usize = 100;
const LARGE: usize = 1 << 20;
/// Programs that publish large events, or read the figures, one request after the other.
const CALLERS: usize = 4;

const QUIET_P99: Kind = Kind::new("quiet: latency, p99", "ms");
const QUIET_MOST: Kind = Kind::new("quiet: longest latency", "ms");
const P50: Kind = Kind::new("latency, p50", "ms");
const P99: Kind = Kind::new("latency, p99", "ms").at_most(2.0);
const MOST: Kind = Kind::new("longest latency", "ms");
const LOST: Kind = Kind::new("events lost", "").at_most(0.0);

#[derive(Debug, Clone, Copy)]
enum Beside {
    FanOut,
    Reconnects,
    LargeEvents,
    Scrapes,
}

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        for beside in [
            Beside::FanOut,
            Beside::Reconnects,
            Beside::LargeEvents,
            Beside::Scrapes,
        ] {
            workloads.push(measure(beside, connections, options).await?);
        }
    }
    Ok(workloads)
}

#[allow(clippy::cast_precision_loss, reason = "there are none")]
async fn measure(beside: Beside, connections: usize, options: &Options) -> Result<Workload, String> {
    let what = match beside {
        Beside::FanOut => format!("a fan-out to {connections} connections"),
        Beside::Reconnects => format!("{connections} connections that come back at once"),
        Beside::LargeEvents => format!("events of {LARGE} bytes by HTTP, {CALLERS} at once"),
        Beside::Scrapes => format!("{CALLERS} programs that read the figures without a pause"),
    };
    let mut workload = Workload::new(format!("Events for single users beside {what}"));
    for round in 0..options.rounds {
        options.progress(&format!("fairness beside {what}"), round);
        let server = Server::start(options.shards, connections + OTHERS, Listeners::Own).await?;
        let quiet = pulse::feel(&server, tokio::time::sleep(options.seconds)).await?.0;
        let felt = beside.feel(&server, connections, options.seconds).await?;
        server.stop().await?;
        workload.record(QUIET_P99, quiet.percentile(99));
        workload.record(QUIET_MOST, quiet.percentile(100));
        workload.record(P50, felt.percentile(50));
        workload.record(P99, felt.percentile(99));
        workload.record(MOST, felt.percentile(100));
        workload.record(LOST, (quiet.lost + felt.lost) as f64);
    }
    Ok(workload)
}

impl Beside {
    /// Returns the latencies of the pulse's events during this work.
    async fn feel(self, server: &Server, connections: usize, length: Duration) -> Result<Felt, String> {
        let (felt, done) = match self {
            Self::FanOut => {
                let mut fan_out = FanOut::prepare(server, connections).await?;
                pulse::feel(server, fan_out.repeat(length)).await?
            }
            Self::Reconnects => {
                let upgrades = server.upgrades(Listeners::Own, connections)?;
                let crowd = Crowd::upgrade(server.clients, &upgrades).await?;
                pulse::feel(server, reconnect(server, crowd, &upgrades)).await?
            }
            Self::LargeEvents => {
                let event = json!({
                    "to": { "user": &*server::user(CROWDED)? },
                    "type": "bench",
                    "data": vec!["x".repeat(60); LARGE / 64],
                });
                let request = requests::post(server.clients, "/api/v1/events", &event);
                pulse::feel(server, ask(server, request, length)).await?
            }
            Self::Scrapes => {
                let address = server.clients;
                let request = format!("GET /metrics/prometheus HTTP/1.1\r\nHost: {address}\r\n\r\n");
                pulse::feel(server, ask(server, request.into_bytes(), length)).await?
            }
        };
        done?;
        Ok(felt)
    }
}

struct FanOut {
    crowd: Crowd,
    door: Door,
    event: Vec<u8>,
}

impl FanOut {
    async fn prepare(server: &Server, connections: usize) -> Result<Self, String> {
        let user = server::user(CROWDED)?;
        let upgrade = server.upgrades(Listeners::Own, CROWDED + 1)?.swap_remove(CROWDED);
        Ok(Self {
            crowd: Crowd::upgrade(server.clients, &vec![upgrade; connections]).await?,
            door: Door::open(server.door).await?,
            event: door::publish(server.dialect, &Audience::User(user))?,
        })
    }

    /// Publishes the next event when the last one has arrived everywhere.
    async fn repeat(&mut self, length: Duration) -> Result<(), String> {
        let end = tokio::time::Instant::now() + length;
        while tokio::time::Instant::now() < end {
            let goal = self.crowd.tally().units() + self.crowd.len() as u64;
            self.door.send(&self.event, 1).await?;
            self.crowd.tally().until(goal).await?;
        }
        Ok(())
    }
}

/// Has all connections end at once, and then all come back at once.
async fn reconnect(server: &Server, crowd: Crowd, upgrades: &[Upgrade]) -> Result<(), String> {
    crowd.close().await;
    let coming = stream::iter(upgrades).map(|upgrade| client::upgrade(server.clients, upgrade));
    let all: Vec<_> = coming.buffer_unordered(upgrades.len()).try_collect().await?;
    drop(all);
    Ok(())
}

/// Sends `request` again and again by a few connections; each must succeed.
async fn ask(server: &Server, request: Vec<u8>, length: Duration) -> Result<(), String> {
    let mut clients = Client::open_many(server.clients, CALLERS).await?;
    let answered = flood(&mut clients, &[request].into(), Until::Over(length)).await?;
    answered.all_with(&[200])
}
