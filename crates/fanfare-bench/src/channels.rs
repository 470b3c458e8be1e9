//! Channels: fan-out by name and by pattern, memory, and the cost of patterns for publications that match none.

use std::time::Duration;

use crate::{
    Options,
    door::{self, Door},
    fanout,
    figures::{Kind, Workload},
    memory,
    process::{Measured, Window},
    receivers::Receivers,
    server::Server,
    subscriptions::{Subscriptions, channel},
};

const SIZES: [usize; 1] = [1_000];
/// The connections that hold patterns, each the default maximum.
const HOLDERS: usize = 100;
const PATTERNS_EACH: usize = 1_000;
/// A channel without subscribers, with as many segments as the patterns.
const UNSUBSCRIBED: &str = "a.b.c.d";
/// The publications that are sent together; twice as many are in flight.
const BATCH: u16 = 512;

const RATE: [Kind; 3] = [
    Kind::new("publications, no patterns held", "/s"),
    Kind::new("publications, 1 pattern held", "/s"),
    Kind::new("publications, 100,000 patterns held", "/s"),
];
const CPU: [Kind; 3] = [
    Kind::new("CPU per publication, no patterns held", "µs"),
    Kind::new("CPU per publication, 1 pattern held", "µs"),
    Kind::new("CPU per publication, 100,000 held", "µs"),
];
const AGAINST_NONE: Kind = Kind::new("CPU, 100,000 patterns / none", "");
const AGAINST_ONE: Kind = Kind::new("CPU, 100,000 patterns / 1", "");

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for (subscriptions, description) in [
        (Subscriptions::Channel, "subscribers of a channel"),
        (Subscriptions::Pattern, "subscribers of a channel, by a pattern"),
    ] {
        for connections in options.sizes(&SIZES) {
            workloads.extend(fanout::measure(connections, subscriptions, description, options).await?);
        }
    }
    workloads.push(measure_held_patterns(options).await?);
    let description = "with two subscriptions each";
    workloads.extend(memory::measure(Subscriptions::TwoChannels, description, options).await?);
    Ok(workloads)
}

/// Measures publications on a channel without subscribers, while other connections hold patterns.
async fn measure_held_patterns(options: &Options) -> Result<Workload, String> {
    let mut workload = Workload::new("Publishing on a channel without subscribers".into());
    for round in 0..options.rounds {
        options.progress("patterns", round);
        let many = Subscriptions::ManyPatterns(PATTERNS_EACH);
        let server = Server::start(options.shards, HOLDERS + 1, many).await?;
        let mut door = Door::open(server.door).await?;
        let mut publisher = Publisher {
            pid: server.id(),
            batch: door::publish(server.dialect, &channel(UNSUBSCRIBED)?)?.repeat(usize::from(BATCH)),
            door: &mut door,
        };
        let none = publisher.measure(options.seconds).await?;
        let first = Receivers::upgrade(server.clients, &server.upgrades(Subscriptions::Pattern, 1)?).await?;
        let one = publisher.measure(options.seconds).await?;
        let holders = Receivers::upgrade(server.clients, &server.upgrades(many, HOLDERS)?).await?;
        let all = publisher.measure(options.seconds).await?;
        if door.wait_for_all_replies().await? > 0 {
            return Err("an event on a channel without subscribers was received".into());
        }
        record(&mut workload, &[none, one, all]);
        first.close().await;
        holders.close().await;
        drop(door);
        server.stop().await?;
    }
    Ok(workload)
}

struct Publisher<'a> {
    pid: u32,
    batch: Vec<u8>,
    door: &'a mut Door,
}

impl Publisher<'_> {
    /// Publishes for `length`. Returns the publications that were replied to.
    async fn measure(&mut self, length: Duration) -> Result<Measured, String> {
        let batch = u64::from(BATCH);
        self.door.send(&self.batch, batch).await?;
        let before = self.door.replies();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            self.door.send(&self.batch, batch).await?;
            self.door.wait_for_replies(batch).await?;
        }
        let spent = window.close()?;
        let count = self.door.replies() - before;
        self.door.wait_for_replies(0).await?;
        Ok(Measured { count, spent })
    }
}

fn record(workload: &mut Workload, measured: &[Measured; 3]) {
    let cpu = measured
        .each_ref()
        .map(|measured| measured.micros_each(measured.spent.server.total()));
    for (at, measured) in measured.iter().enumerate() {
        workload.record(RATE[at], measured.rate());
        workload.record(CPU[at], cpu[at]);
    }
    let [none, one, all] = cpu;
    workload.record(AGAINST_NONE, all / none);
    workload.record(AGAINST_ONE, all / one);
}
