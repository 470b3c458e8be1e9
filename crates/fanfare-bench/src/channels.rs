//! Channels: fan-out by name and by pattern, the cost of patterns for publishers elsewhere, and memory.

use std::time::Duration;

use crate::{
    Options,
    crowd::Crowd,
    door::{self, Door},
    fanout,
    figures::{Kind, Workload},
    listeners::{Listeners, channel},
    memory,
    process::{Measured, Window},
    server::Server,
};

const SIZES: [usize; 1] = [1_000];
/// The connections that hold patterns; each holds as many as a connection may by default.
const HOLDERS: usize = 100;
const PATTERNS_EACH: usize = 1_000;
/// A channel without subscribers. Its name has as many segments as the patterns.
const ELSEWHERE: &str = "a.b.c.d";
/// Publications sent together; twice as many are in flight.
const PIECE: u16 = 512;

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
    for (listeners, whom) in [
        (Listeners::Channel, "subscribers of a channel"),
        (Listeners::Pattern, "subscribers of a channel, by a pattern"),
    ] {
        for connections in options.sizes(&SIZES) {
            workloads.extend(fanout::measure(connections, listeners, whom, options).await?);
        }
    }
    workloads.push(elsewhere(options).await?);
    let whose = "with two subscriptions each";
    workloads.extend(memory::measure(Listeners::TwoChannels, whose, options).await?);
    Ok(workloads)
}

/// Measures the cost of publishing on a channel without subscribers, while patterns are held.
async fn elsewhere(options: &Options) -> Result<Workload, String> {
    let mut workload = Workload::new("Publishing on a channel without subscribers".into());
    for round in 0..options.rounds {
        options.progress("patterns", round);
        let many = Listeners::ManyPatterns(PATTERNS_EACH);
        let server = Server::start(options.shards, HOLDERS + 1, many).await?;
        let mut door = Door::open(server.door).await?;
        let mut publisher = Publisher {
            pid: server.id(),
            piece: door::publish(server.dialect, &channel(ELSEWHERE)?)?.repeat(usize::from(PIECE)),
            door: &mut door,
        };
        let none = publisher.measure(options.seconds).await?;
        let first = Crowd::upgrade(server.clients, &server.upgrades(Listeners::Pattern, 1)?).await?;
        let one = publisher.measure(options.seconds).await?;
        let holders = Crowd::upgrade(server.clients, &server.upgrades(many, HOLDERS)?).await?;
        let all = publisher.measure(options.seconds).await?;
        if door.settle().await? > 0 {
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
    piece: Vec<u8>,
    door: &'a mut Door,
}

impl Publisher<'_> {
    /// Publishes for `length`; returns the publications that were answered.
    async fn measure(&mut self, length: Duration) -> Result<Measured, String> {
        let piece = u64::from(PIECE);
        self.door.send(&self.piece, piece).await?;
        let before = self.door.answered();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            self.door.send(&self.piece, piece).await?;
            self.door.until_behind(piece).await?;
        }
        let spent = window.close()?;
        let count = self.door.answered() - before;
        self.door.until_behind(0).await?;
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
