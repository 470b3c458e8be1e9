//! Many events, each to one of many users: the whole path of an event, from the door to a socket.

use std::time::Duration;

use fanfare_core::{Audience, DialectKind};

use crate::{
    FRAME_LEN, Options,
    crowd::Crowd,
    door::{self, Door},
    figures::{Kind, Workload},
    listeners::Listeners,
    process::{Spent, Window},
    server::{self, Server},
};

const SIZES: [usize; 1] = [1_000];
/// Events in flight; with more than one per user, frames can be written together.
const IN_FLIGHT: [usize; 2] = [512, 8192];
/// The number of pieces into which the events in flight are divided.
const PIECES: usize = 4;
/// The number of prepared commands, which are sent again and again.
const PREPARED: usize = 32_000;

const RATE: Kind = Kind::new("events", "/s");
const RATE_PER_CORE: Kind = Kind::new("events per second of server CPU", "").at_least(300_000.0);
const USER: Kind = Kind::new("user CPU per event", "µs");
const SYSTEM: Kind = Kind::new("system CPU per event", "µs");
const SERVER_BUSY: Kind = Kind::new("server busy", "cores");
const GENERATOR_BUSY: Kind = Kind::new("generator busy", "cores");

/// The order in which users receive events.
#[derive(Debug, Clone, Copy)]
enum UserOrder {
    InTurn,
    Random,
}

/// Measures both orders with each number of events in flight.
pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for users in options.sizes(&SIZES) {
        let mut of_size: Vec<_> = cases()
            .map(|(order, events)| Workload::new(title(users, order, events)))
            .collect();
        for round in 0..options.rounds {
            options.progress(&format!("unicast to {users} users"), round);
            measure_all(users, options, &mut of_size).await?;
        }
        workloads.extend(of_size);
    }
    Ok(workloads)
}

fn cases() -> impl Iterator<Item = (UserOrder, usize)> {
    IN_FLIGHT
        .into_iter()
        .flat_map(|events| [(UserOrder::InTurn, events), (UserOrder::Random, events)])
}

fn title(users: usize, order: UserOrder, in_flight: usize) -> String {
    let order = match order {
        UserOrder::InTurn => "in turn",
        UserOrder::Random => "at random",
    };
    format!("Unicast to {users} users {order}, {in_flight} events in flight")
}

async fn measure_all(users: usize, options: &Options, workloads: &mut [Workload]) -> Result<(), String> {
    let server = Server::start(options.shards, users, Listeners::Own).await?;
    let crowd = Crowd::upgrade(server.clients, &server.upgrades(Listeners::Own, users)?).await?;
    let mut run = UnicastRun {
        pid: server.id(),
        door: Door::open(server.door).await?,
        crowd,
        published: 0,
    };
    for ((order, in_flight), workload) in cases().zip(workloads) {
        let pieces = pieces(server.dialect, users, order, in_flight / PIECES)?;
        let (events, spent) = run.measure(&pieces, in_flight, options.seconds).await?;
        record(workload, events, &spent);
    }
    let (arrived, reported) = (run.crowd.tally().units(), run.door.settle().await?);
    if reported != arrived {
        return Err(format!(
            "{arrived} events arrived, but the server reported {reported}"
        ));
    }
    run.crowd.check_frame_len(FRAME_LEN)?;
    run.crowd.close().await;
    drop(run.door);
    server.stop().await
}

/// Returns the publishing commands, `len` in each piece.
fn pieces(
    dialect: &dyn DialectKind,
    users: usize,
    order: UserOrder,
    len: usize,
) -> Result<Vec<Vec<u8>>, String> {
    let commands: Vec<_> = (0..users)
        .map(|number| door::publish(dialect, &Audience::User(server::user(number)?)))
        .collect::<Result<_, String>>()?;
    let pick = |nth: usize| match order {
        UserOrder::InTurn => nth % users,
        UserOrder::Random => rand::random_range(0..users),
    };
    let piece = |first: usize| {
        (first..first + len)
            .flat_map(|nth| commands[pick(nth)].iter().copied())
            .collect()
    };
    Ok((0..PREPARED.max(len)).step_by(len).map(piece).collect())
}

/// A server with its users and a publisher.
struct UnicastRun {
    pid: u32,
    door: Door,
    crowd: Crowd,
    published: u64,
}

impl UnicastRun {
    async fn measure(
        &mut self,
        pieces: &[Vec<u8>],
        in_flight: usize,
        length: Duration,
    ) -> Result<(u64, Spent), String> {
        let piece_len = (in_flight / PIECES) as u64;
        let mut pieces = pieces.iter().cycle();
        let mut publish = async |run: &mut Self| {
            run.published += piece_len;
            run.door
                .send(pieces.next().map_or(&[], Vec::as_slice), piece_len)
                .await
        };
        for _ in 0..PIECES {
            publish(self).await?;
        }
        let before = self.crowd.tally().units();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            self.crowd
                .tally()
                .until(self.published + piece_len - in_flight as u64)
                .await?;
            publish(self).await?;
        }
        let spent = window.close()?;
        let events = self.crowd.tally().units() - before;
        self.crowd.tally().until(self.published).await?;
        Ok((events, spent))
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
fn record(workload: &mut Workload, events: u64, spent: &Spent) {
    let events = events as f64;
    let micros_each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events;
    workload.record(RATE, events / spent.wall.as_secs_f64());
    workload.record(RATE_PER_CORE, events / spent.server.total().as_secs_f64());
    workload.record(USER, micros_each(spent.server.user));
    workload.record(SYSTEM, micros_each(spent.server.system));
    workload.record(SERVER_BUSY, spent.server_cores());
    workload.record(GENERATOR_BUSY, spent.generator_cores());
}
