//! Many events, each to one of many users: the whole path of an event, from the door to a socket.

use std::time::Duration;

use fanfare_core::{Audience, DialectKind};

use crate::{
    FRAME_LEN, Options,
    crowd::Crowd,
    door::{self, Door},
    figures::{Kind, Workload},
    listeners::Listeners,
    process::{GENERATOR_BUSY, Measured, SERVER_BUSY, Window},
    server::{self, Server},
};

const SIZES: [usize; 1] = [1_000];
/// Events in flight; with more than one per user, frames can be written together.
const IN_FLIGHT: [usize; 2] = [512, 8192];
const PIECES: usize = 4;
/// The number of prepared commands, which are sent again and again.
const PREPARED: usize = 32_000;

/// The figures of [`Measured::record`].
const FIGURES: [Kind; 6] = [
    Kind::new("events", "/s"),
    Kind::new("events per second of server CPU", "").at_least(300_000.0),
    Kind::new("user CPU per event", "µs"),
    Kind::new("system CPU per event", "µs"),
    SERVER_BUSY,
    GENERATOR_BUSY,
];

#[derive(Debug, Clone, Copy)]
enum UserOrder {
    InTurn,
    Random,
}

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
    let orders = |events| [(UserOrder::InTurn, events), (UserOrder::Random, events)];
    IN_FLIGHT.into_iter().flat_map(orders)
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
        let events = run.measure(&pieces, in_flight, options.seconds).await?;
        events.record(workload, &FIGURES);
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
fn pieces(dialect: &DialectKind, users: usize, order: UserOrder, len: usize) -> Result<Vec<Vec<u8>>, String> {
    let command = |number| door::publish(dialect, &Audience::User(server::user(number)?));
    let commands: Vec<_> = (0..users).map(command).collect::<Result<_, String>>()?;
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
    ) -> Result<Measured, String> {
        let piece_len = (in_flight / PIECES) as u64;
        let mut pieces = pieces.iter().cycle();
        let mut publish = async |run: &mut Self| {
            run.published += piece_len;
            let piece: &[u8] = pieces.next().map_or(&[], Vec::as_slice);
            run.door.send(piece, piece_len).await
        };
        for _ in 0..PIECES {
            publish(self).await?;
        }
        let before = self.crowd.tally().units();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            let arrived = self.published + piece_len - in_flight as u64;
            self.crowd.tally().until(arrived).await?;
            publish(self).await?;
        }
        let spent = window.close()?;
        let count = self.crowd.tally().units() - before;
        self.crowd.tally().until(self.published).await?;
        Ok(Measured { count, spent })
    }
}
