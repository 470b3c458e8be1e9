//! One event to everyone: the rate and the cost of deliveries, compared with the baseline.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    FRAME_LEN, Options,
    baseline::Baseline,
    client,
    door::{self, Door},
    figures::{Kind, Workload},
    process::{GENERATOR_BUSY, Measured, SERVER_BUSY, Window},
    receivers::Receivers,
    server::Server,
    subscriptions::Subscriptions,
};

const SIZES: [usize; 2] = [1_000, 10_000];
/// The events that are published together. The next ones follow when all receivers have received them.
const IN_FLIGHT: [u8; 2] = [1, 16];

const RATE: Kind = Kind::new("deliveries", "/s");
const BASELINE_RATE: Kind = Kind::new("deliveries, baseline", "/s");
const RATIO: Kind = Kind::new("server / baseline", "");
const LEAST_RATIO: [f64; 2] = [0.85, 0.60];
const USER: Kind = Kind::new("user CPU per delivery", "µs").at_most(1.0);
const SYSTEM: Kind = Kind::new("system CPU per delivery", "µs");
const BASELINE_CPU: Kind = Kind::new("CPU per delivery, baseline", "µs");
const CPU_RATIO: Kind = Kind::new("CPU, baseline / server", "");

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        workloads.extend(measure(connections, Subscriptions::Own, "connections", options).await?);
    }
    Ok(workloads)
}

/// Measures connections with `subscriptions`, which `description` names in the report, with each number of events in
/// flight.
pub(crate) async fn measure(
    connections: usize,
    subscriptions: Subscriptions,
    description: &str,
    options: &Options,
) -> Result<[Workload; 2], String> {
    let mut workloads = IN_FLIGHT.map(|events| Workload::new(title(connections, description, events)));
    for round in 0..options.rounds {
        options.progress(&format!("fan-out to {connections} {description}"), round);
        let server = measure_server(connections, subscriptions, options).await?;
        let baseline = measure_baseline(connections, options).await?;
        for (at, workload) in workloads.iter_mut().enumerate() {
            record(workload, &server[at], &baseline[at], LEAST_RATIO[at]);
        }
    }
    Ok(workloads)
}

fn title(connections: usize, description: &str, in_flight: u8) -> String {
    match in_flight {
        1 => format!("Fan-out to {connections} {description}, one event in flight"),
        events => format!("Fan-out to {connections} {description}, {events} events in flight"),
    }
}

async fn measure_server(
    connections: usize,
    subscriptions: Subscriptions,
    options: &Options,
) -> Result<[Measured; 2], String> {
    let server = Server::start(options.shards, connections, subscriptions).await?;
    let receivers = Receivers::upgrade(server.clients, &server.upgrades(subscriptions, connections)?).await?;
    let event = door::publish(server.dialect, &subscriptions.audience()?)?;
    let source = Source::Door(Door::open(server.door).await?, event);
    let pid = server.id();
    let measured = FanOutRun {
        pid,
        receivers,
        source,
    }
    .measure_all(options.seconds)
    .await?;
    Ok(measured)
}

async fn measure_baseline(connections: usize, options: &Options) -> Result<[Measured; 2], String> {
    let baseline = Baseline::start(connections)?;
    let source = Source::Commander(client::connect(baseline.address).await?);
    let receivers = Receivers::connect(baseline.address, connections).await?;
    let pid = baseline.child.id();
    let measured = FanOutRun {
        pid,
        receivers,
        source,
    }
    .measure_all(options.seconds)
    .await?;
    baseline.child.stop().await?;
    Ok(measured)
}

enum Source {
    Door(Door, Vec<u8>),
    Commander(TcpStream),
}

impl Source {
    async fn publish(&mut self, events: u8) -> Result<(), String> {
        match self {
            Self::Door(door, command) => {
                let commands = command.repeat(usize::from(events));
                door.send(&commands, u64::from(events)).await
            }
            Self::Commander(socket) => {
                let written = socket.write_all(&[events]).await;
                written.map_err(|error| error.to_string())
            }
        }
    }
}

struct FanOutRun {
    pid: u32,
    receivers: Receivers,
    source: Source,
}

impl FanOutRun {
    /// Measures with each number of events in flight, checks the deliveries, and closes all connections.
    async fn measure_all(mut self, length: Duration) -> Result<[Measured; 2], String> {
        let [one, several] = IN_FLIGHT;
        let measured = [
            self.measure(one, length).await?,
            self.measure(several, length).await?,
        ];
        self.check().await?;
        self.receivers.close().await;
        Ok(measured)
    }

    async fn measure(&mut self, in_flight: u8, length: Duration) -> Result<Measured, String> {
        self.publish(in_flight).await?; // warms up
        let before = self.receivers.tally().units();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            self.publish(in_flight).await?;
        }
        let spent = window.close()?;
        let count = self.receivers.tally().units() - before;
        Ok(Measured { count, spent })
    }

    async fn publish(&mut self, events: u8) -> Result<(), String> {
        let deliveries = self.receivers.len() as u64 * u64::from(events);
        let goal = self.receivers.tally().units() + deliveries;
        self.source.publish(events).await?;
        self.receivers.tally().wait_for(goal).await
    }

    async fn check(&self) -> Result<(), String> {
        let arrived = self.receivers.tally().units();
        if let Source::Door(door, _) = &self.source {
            let reported = door.wait_for_all_replies().await?;
            if reported != arrived {
                return Err(format!(
                    "{arrived} deliveries arrived, but the server reported {reported}"
                ));
            }
        }
        self.receivers.check_frame_len(FRAME_LEN)
    }
}

fn record(workload: &mut Workload, server: &Measured, baseline: &Measured, least_ratio: f64) {
    let cpu = server.spent.server;
    workload.record(RATE, server.rate());
    workload.record(BASELINE_RATE, baseline.rate());
    workload.record(RATIO.at_least(least_ratio), server.rate() / baseline.rate());
    workload.record(USER, server.micros_each(cpu.user));
    workload.record(SYSTEM, server.micros_each(cpu.system));
    let own = server.micros_each(cpu.total());
    let best = baseline.micros_each(baseline.spent.server.total());
    workload.record(BASELINE_CPU, best);
    workload.record(CPU_RATIO, best / own);
    workload.record(SERVER_BUSY, server.spent.server_cores());
    workload.record(GENERATOR_BUSY, server.spent.generator_cores());
}
