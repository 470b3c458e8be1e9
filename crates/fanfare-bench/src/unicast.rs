//! Events to one of many users each: the path of an event from the door to a socket.

use std::time::Duration;

use fanfare_core::{Audience, DialectKind};

use crate::{
    FRAME_LEN, Options,
    door::{self, Door},
    figures::{Kind, Workload},
    process::{GENERATOR_BUSY, Measured, SERVER_BUSY, Window},
    receivers::Receivers,
    server::{self, Server},
    subscriptions::Subscriptions,
};

const SIZES: [usize; 1] = [1_000];
/// The events in flight. If a user has several, the server can write their frames together.
const IN_FLIGHT: [usize; 2] = [512, 8192];
const BATCHES: usize = 4;
/// The number of prepared commands, which are sent repeatedly.
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
    let server = Server::start(options.shards, users, Subscriptions::Own).await?;
    let receivers = Receivers::upgrade(server.clients, &server.upgrades(Subscriptions::Own, users)?).await?;
    let mut run = UnicastRun {
        pid: server.id(),
        door: Door::open(server.door).await?,
        receivers,
        published: 0,
    };
    for ((order, in_flight), workload) in cases().zip(workloads) {
        let batches = batches(server.dialect, users, order, in_flight / BATCHES)?;
        let events = run.measure(&batches, in_flight, options.seconds).await?;
        events.record(workload, &FIGURES);
    }
    let (arrived, reported) = (
        run.receivers.tally().units(),
        run.door.wait_for_all_replies().await?,
    );
    if reported != arrived {
        return Err(format!(
            "{arrived} events arrived, but the server reported {reported}"
        ));
    }
    run.receivers.check_frame_len(FRAME_LEN)?;
    run.receivers.close().await;
    drop(run.door);
    server.stop().await
}

/// Returns the publishing commands in batches of `len`.
fn batches(
    dialect: &DialectKind,
    users: usize,
    order: UserOrder,
    len: usize,
) -> Result<Vec<Vec<u8>>, String> {
    let command = |number| door::publish(dialect, &Audience::User(server::user(number)?));
    let commands: Vec<_> = (0..users).map(command).collect::<Result<_, String>>()?;
    let pick = |nth: usize| match order {
        UserOrder::InTurn => nth % users,
        UserOrder::Random => rand::random_range(0..users),
    };
    let batch = |first: usize| {
        (first..first + len)
            .flat_map(|nth| commands[pick(nth)].iter().copied())
            .collect()
    };
    Ok((0..PREPARED.max(len)).step_by(len).map(batch).collect())
}

struct UnicastRun {
    pid: u32,
    door: Door,
    receivers: Receivers,
    published: u64,
}

impl UnicastRun {
    async fn measure(
        &mut self,
        batches: &[Vec<u8>],
        in_flight: usize,
        length: Duration,
    ) -> Result<Measured, String> {
        let batch_len = (in_flight / BATCHES) as u64;
        let mut batches = batches.iter().cycle();
        let mut publish = async |run: &mut Self| {
            run.published += batch_len;
            let batch: &[u8] = batches.next().map_or(&[], Vec::as_slice);
            run.door.send(batch, batch_len).await
        };
        for _ in 0..BATCHES {
            publish(self).await?;
        }
        let before = self.receivers.tally().units();
        let window = Window::open(self.pid)?;
        while !window.is_over(length) {
            let arrived = self.published + batch_len - in_flight as u64;
            self.receivers.tally().wait_for(arrived).await?;
            publish(self).await?;
        }
        let spent = window.close()?;
        let count = self.receivers.tally().units() - before;
        self.receivers.tally().wait_for(self.published).await?;
        Ok(Measured { count, spent })
    }
}
