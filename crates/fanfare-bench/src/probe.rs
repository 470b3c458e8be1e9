//! Measures the latency of single events, from publisher to receiver, while the server does other work.
//!
//! The probe has its own thread: on the load generator's thread it would measure the load of that. It publishes each event
//! without waiting for the previous one, so a pause of the server delays all events of that time.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use fanfare_core::Audience;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::oneshot,
    time::{interval, sleep},
};

use crate::{
    client::{self, Upgrade},
    door::{self, Door},
    frames::{Counter, FrameCounter},
    run_local,
    server::{self, Server},
    subscriptions::Subscriptions,
};

/// The number of users, who receive the events in turn.
pub(crate) const USERS: usize = 8;
/// The time from one event to the next.
const INTERVAL: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A probe that is running.
struct Probe {
    stop: oneshot::Sender<()>,
    result: oneshot::Receiver<Result<Latencies, String>>,
}

/// The result of a probe.
#[derive(Debug)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
    /// Events that were published and did not arrive.
    pub(crate) lost: u64,
}

impl Probe {
    /// Starts a probe of `server`, whose users connect first.
    async fn start(server: &Server) -> Result<Self, String> {
        let command = |number| door::publish(server.dialect, &Audience::User(server::user(number)?));
        let run = ProbeRun {
            clients: server.clients,
            door: server.door,
            upgrades: server.upgrades(Subscriptions::Own, USERS)?,
            commands: (0..USERS).map(command).collect::<Result<_, String>>()?,
        };
        let (stop, stopped) = oneshot::channel();
        let (start_sender, started) = oneshot::channel();
        let (result_sender, result) = oneshot::channel();
        let work = move || drop(result_sender.send(run_local(run.run(start_sender, stopped))));
        let thread = thread::Builder::new().name("fanfare-probe".into()).spawn(work);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let probe = Self { stop, result };
        if started.await.is_err() {
            return probe
                .stop()
                .await
                .and(Err("the latency probe did not start".into()));
        }
        Ok(probe)
    }

    /// Waits for the events in flight; fails if one is lost or unexpected.
    async fn stop(self) -> Result<Latencies, String> {
        let _ = self.stop.send(()); // a failed probe has stopped already
        let result = self.result.await;
        result.map_err(|_| "the latency probe panicked".to_owned())?
    }
}

/// Returns the latencies of events during `work`, and its result.
pub(crate) async fn measure<T>(
    server: &Server,
    work: impl Future<Output = T>,
) -> Result<(Latencies, T), String> {
    let probe = Probe::start(server).await?;
    let done = work.await;
    Ok((probe.stop().await?, done))
}

struct ProbeRun {
    clients: SocketAddr,
    door: SocketAddr,
    upgrades: Vec<Upgrade>,
    commands: Vec<Vec<u8>>,
}

impl ProbeRun {
    async fn run(
        self,
        started: oneshot::Sender<()>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<Latencies, String> {
        let mut users = Vec::new();
        for upgrade in &self.upgrades {
            let (socket, early) = client::upgrade(self.clients, upgrade).await?;
            let user = Rc::<ProbedUser>::default();
            tokio::task::spawn_local(user.clone().listen(socket, early));
            users.push(user);
        }
        let mut door = Door::open(self.door).await?;
        let _ = started.send(()); // without a receiver the caller is gone, and `stopped` ends the loop
        let mut ticks = interval(INTERVAL);
        for (command, user) in self.commands.iter().zip(&users).cycle() {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                _ = ticks.tick() => {}
            }
            user.in_flight.borrow_mut().push_back(Instant::now());
            door.send(command, 1).await?;
        }
        door.wait_for_all_replies().await?;
        let deadline = Instant::now() + TIMEOUT;
        while users.iter().any(|user| user.is_waiting()) && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        collect(&users)
    }
}

/// The events of one user, in order.
#[derive(Default)]
struct ProbedUser {
    /// The publication times of the events that have not arrived.
    in_flight: RefCell<VecDeque<Instant>>,
    latencies: RefCell<Vec<Duration>>,
    /// The number of received events that were not published.
    surplus: Cell<u64>,
}

impl ProbedUser {
    async fn listen(self: Rc<Self>, mut socket: TcpStream, early: Vec<u8>) {
        let (mut counter, mut buffer) = (FrameCounter::default(), vec![0; 4096]);
        counter.take(&early); // the server's first messages are not events
        while let Ok(read @ 1..) = socket.read(&mut buffer).await {
            self.receive(counter.take(&buffer[..read]), Instant::now());
        }
    }

    fn receive(&self, events: u64, now: Instant) {
        for _ in 0..events {
            match self.in_flight.borrow_mut().pop_front() {
                Some(published) => self.latencies.borrow_mut().push(now - published),
                None => self.surplus.set(self.surplus.get() + 1),
            }
        }
    }

    fn is_waiting(&self) -> bool {
        !self.in_flight.borrow().is_empty()
    }
}

/// Merges the latencies of all users.
fn collect(users: &[Rc<ProbedUser>]) -> Result<Latencies, String> {
    let surplus: u64 = users.iter().map(|user| user.surplus.get()).sum();
    if surplus > 0 {
        return Err(format!("{surplus} more events arrived than were published"));
    }
    let mut sorted: Vec<_> = users.iter().flat_map(|user| user.latencies.take()).collect();
    sorted.sort_unstable();
    let lost = users
        .iter()
        .map(|user| user.in_flight.borrow().len() as u64)
        .sum();
    Ok(Latencies { sorted, lost })
}

impl Latencies {
    /// Returns the percentile in milliseconds; NaN if no event arrived.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        let found = self.sorted.get(rank - 1);
        found.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured_latencies() {
        let of = |count: u64| Latencies {
            sorted: (1..=count)
                .map(|millis| Duration::from_millis(millis * 250))
                .collect(),
            lost: 0,
        };
        for (count, percent, expected) in [
            (1, 50, 250.0),
            (1, 99, 250.0),
            (4, 50, 500.0),
            (5, 50, 750.0),
            (100, 99, 24_750.0),
            (200, 99, 49_500.0),
            (200, 100, 50_000.0),
        ] {
            assert_eq!(of(count).percentile(percent), expected, "{percent} % of {count}");
        }
        assert!(of(0).percentile(99).is_nan());
    }

    #[test]
    fn the_nth_arrival_at_a_user_belongs_to_its_nth_publication() {
        let (now, millis) = (Instant::now(), Duration::from_millis);
        let users = [Rc::<ProbedUser>::default(), Rc::<ProbedUser>::default()];
        for (user, published) in [(0, 0), (1, 1), (0, 4), (1, 5), (0, 6)] {
            let published = now + millis(published);
            users[user].in_flight.borrow_mut().push_back(published);
        }
        users[0].receive(2, now + millis(7));
        users[1].receive(1, now + millis(2));
        let collected = collect(&users).unwrap();
        assert_eq!(collected.sorted, [millis(1), millis(3), millis(7)]);
        assert_eq!(collected.lost, 2);
        users[1].receive(2, now + millis(9));
        assert!(collect(&users).is_err(), "one more than was published");
    }
}
