//! Fairness: the latency of events for single users while the server does expensive work for others.

use std::time::Duration;

use fanfare_core::Audience;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::{
    Options,
    client::{self, Upgrade},
    door::{self, Door},
    figures::{Kind, Workload},
    probe::{self, Latencies},
    receivers::Receivers,
    requests::{self, Client, Limit, flood},
    server::{self, Server},
    subscriptions::Subscriptions,
};

const SIZES: [usize; 1] = [10_000];
/// The user of all connections of the fan-out. The probe's users receive none of its events.
const FAN_OUT_USER: usize = probe::USERS;
/// The other connections to the server: those of the probe, and a few more.
const OTHER_CONNECTIONS: usize = 100;
const LARGE_LEN: usize = 1 << 20;
/// The clients that publish large events or read the figures, one request after the other.
const CALLERS: usize = 4;

const QUIET_P99: Kind = Kind::new("quiet: latency, p99", "ms");
const QUIET_MOST: Kind = Kind::new("quiet: longest latency", "ms");
const P50: Kind = Kind::new("latency, p50", "ms");
const P99: Kind = Kind::new("latency, p99", "ms").at_most(2.0);
const MOST: Kind = Kind::new("longest latency", "ms");
const LOST: Kind = Kind::new("events lost", "").at_most(0.0);

/// The work of the server for others.
#[derive(Debug, Clone, Copy)]
enum Load {
    FanOut,
    Reconnects,
    LargeEvents,
    Scrapes,
}

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        for load in [Load::FanOut, Load::Reconnects, Load::LargeEvents, Load::Scrapes] {
            workloads.push(measure(load, connections, options).await?);
        }
    }
    Ok(workloads)
}

#[allow(clippy::cast_precision_loss, reason = "there are none")]
async fn measure(load: Load, connections: usize, options: &Options) -> Result<Workload, String> {
    let what = match load {
        Load::FanOut => format!("a fan-out to {connections} connections"),
        Load::Reconnects => format!("{connections} connections that come back at once"),
        Load::LargeEvents => format!("events of {LARGE_LEN} bytes by HTTP, {CALLERS} at once"),
        Load::Scrapes => format!("{CALLERS} programs that read the figures without a pause"),
    };
    let mut workload = Workload::new(format!("Events for single users beside {what}"));
    for round in 0..options.rounds {
        options.progress(&format!("fairness beside {what}"), round);
        let server = Server::start(
            options.shards,
            connections + OTHER_CONNECTIONS,
            Subscriptions::Own,
        )
        .await?;
        let quiet = probe::measure(&server, tokio::time::sleep(options.seconds))
            .await?
            .0;
        let loaded = load.measure(&server, connections, options.seconds).await?;
        server.stop().await?;
        workload.record(QUIET_P99, quiet.percentile(99));
        workload.record(QUIET_MOST, quiet.percentile(100));
        workload.record(P50, loaded.percentile(50));
        workload.record(P99, loaded.percentile(99));
        workload.record(MOST, loaded.percentile(100));
        workload.record(LOST, (quiet.lost + loaded.lost) as f64);
    }
    Ok(workload)
}

impl Load {
    /// Returns the latencies of the probe's events during this work.
    async fn measure(
        self,
        server: &Server,
        connections: usize,
        length: Duration,
    ) -> Result<Latencies, String> {
        let (latencies, done) = match self {
            Self::FanOut => {
                let mut fan_out = FanOut::prepare(server, connections).await?;
                probe::measure(server, fan_out.repeat(length)).await?
            }
            Self::Reconnects => {
                let upgrades = server.upgrades(Subscriptions::Own, connections)?;
                let receivers = Receivers::upgrade(server.clients, &upgrades).await?;
                probe::measure(server, reconnect(server, receivers, &upgrades)).await?
            }
            Self::LargeEvents => {
                let event = json!({
                    "to": { "user": &*server::user(FAN_OUT_USER)? },
                    "type": "bench",
                    "data": vec!["x".repeat(60); LARGE_LEN / 64],
                });
                let request = requests::post(server.clients, "/api/v1/events", &event);
                probe::measure(server, send_repeatedly(server, request, length)).await?
            }
            Self::Scrapes => {
                let address = server.clients;
                let request = format!("GET /metrics/prometheus HTTP/1.1\r\nHost: {address}\r\n\r\n");
                probe::measure(server, send_repeatedly(server, request.into_bytes(), length)).await?
            }
        };
        done?;
        Ok(latencies)
    }
}

struct FanOut {
    receivers: Receivers,
    door: Door,
    event: Vec<u8>,
}

impl FanOut {
    async fn prepare(server: &Server, connections: usize) -> Result<Self, String> {
        let user = server::user(FAN_OUT_USER)?;
        let upgrade = server
            .upgrades(Subscriptions::Own, FAN_OUT_USER + 1)?
            .swap_remove(FAN_OUT_USER);
        Ok(Self {
            receivers: Receivers::upgrade(server.clients, &vec![upgrade; connections]).await?,
            door: Door::open(server.door).await?,
            event: door::publish(server.dialect, &Audience::User(user))?,
        })
    }

    /// Publishes the next event when all connections have received the last one.
    async fn repeat(&mut self, length: Duration) -> Result<(), String> {
        let end = tokio::time::Instant::now() + length;
        while tokio::time::Instant::now() < end {
            self.door.deliver(&self.event, &self.receivers).await?;
        }
        Ok(())
    }
}

/// Ends all connections at once, then opens all at once.
async fn reconnect(server: &Server, receivers: Receivers, upgrades: &[Upgrade]) -> Result<(), String> {
    receivers.close().await;
    let opening = stream::iter(upgrades).map(|upgrade| client::upgrade(server.clients, upgrade));
    let reopened: Vec<_> = opening.buffer_unordered(upgrades.len()).try_collect().await?;
    drop(reopened);
    Ok(())
}

/// Sends `request` repeatedly over a few connections. Each response must have the status 200.
async fn send_repeatedly(server: &Server, request: Vec<u8>, length: Duration) -> Result<(), String> {
    let mut clients = Client::open_many(server.clients, CALLERS).await?;
    let responses = flood(&mut clients, &[request].into(), Limit::Time(length)).await?;
    responses.expect_only(&[200])
}
