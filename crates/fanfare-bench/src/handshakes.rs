//! Handshakes: connections that open, upgrade with a token, and close.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    Options,
    client::{self, Upgrade},
    figures::{Kind, Workload},
    process::{GENERATOR_BUSY, Measured, SERVER_BUSY, Window},
    server::Server,
    subscriptions::Subscriptions,
};

const CONCURRENCY: usize = 64;
/// The users that connect in turn, each with its own token.
const USERS: usize = 10_000;

/// The figures of [`Measured::record`].
const FIGURES: [Kind; 6] = [
    Kind::new("handshakes", "/s"),
    Kind::new("handshakes per second of server CPU", "").at_least(20_000.0),
    Kind::new("user CPU per handshake", "µs"),
    Kind::new("system CPU per handshake", "µs"),
    SERVER_BUSY,
    GENERATOR_BUSY,
];

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let title = format!("Handshakes with a token, connect to close, {CONCURRENCY} at once");
    let mut workload = Workload::new(title);
    for round in 0..options.rounds {
        options.progress("handshakes", round);
        let server = Server::start(options.shards, USERS, Subscriptions::Own).await?;
        let upgrades = server.upgrades(Subscriptions::Own, USERS)?;
        let handshakes = measure(server.clients, server.id(), upgrades, options.seconds).await?;
        server.stop().await?;
        handshakes.record(&mut workload, &FIGURES);
    }
    Ok(vec![workload])
}

/// Opens and closes connections to the process `pid` at `address`, with each of `upgrades` in turn.
pub(crate) async fn measure(
    address: SocketAddr,
    pid: u32,
    upgrades: Vec<Upgrade>,
    length: Duration,
) -> Result<Measured, String> {
    let work = Rc::new(SharedState {
        address,
        upgrades,
        next: Cell::new(0),
        is_over: Cell::new(false),
        done: Cell::new(0),
    });
    let mut workers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        workers.spawn_local(work.clone().repeat());
    }
    tokio::time::sleep(length / 10).await; // the window opens when all workers are busy
    let before = work.done.get();
    let window = Window::open(pid)?;
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        Some(Ok(Err(error))) = workers.join_next() => return Err(error),
    }
    let (count, spent) = (work.done.get() - before, window.close()?);
    work.is_over.set(true);
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    Ok(Measured { count, spent })
}

struct SharedState {
    address: SocketAddr,
    upgrades: Vec<Upgrade>,
    next: Cell<usize>,
    is_over: Cell<bool>,
    done: Cell<u64>,
}

impl SharedState {
    async fn repeat(self: Rc<Self>) -> Result<(), String> {
        while !self.is_over.get() {
            let nth = self.next.replace(self.next.get() + 1);
            let upgrade = &self.upgrades[nth % self.upgrades.len()];
            let (socket, _) = client::upgrade(self.address, upgrade).await?;
            client::close(socket).await?;
            self.done.set(self.done.get() + 1);
        }
        Ok(())
    }
}
