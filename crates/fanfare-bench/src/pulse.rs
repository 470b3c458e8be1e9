//! A steady trickle of events while the server does other work: the latency of each from publisher to receiver.
//!
//! It has its own thread: on the load generator's thread it would measure how busy that is. It never waits for an event
//! before it publishes the next, so that a pause of the server delays all events of that time.

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
    task::LocalSet,
    time::{interval, sleep},
};

use crate::{
    client::{self, Upgrade},
    door::{self, Door},
    frames::{Counter, FrameCounter},
    listeners::Listeners,
    server::{self, Server},
};

/// Users that listen; events go to them in turn.
pub(crate) const USERS: usize = 8;
/// The time from one event to the next.
const PACE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// Events in flight, until it is stopped.
struct Pulse {
    stop: oneshot::Sender<()>,
    felt: oneshot::Receiver<Result<Felt, String>>,
}

#[derive(Debug)]
pub(crate) struct Felt {
    /// In ascending order.
    latencies: Vec<Duration>,
    /// Events that were published and did not arrive.
    pub(crate) lost: u64,
}

impl Pulse {
    /// Begins to publish to users that connect to `server`.
    async fn start(server: &Server) -> Result<Self, String> {
        let command = |number| door::publish(server.dialect, &Audience::User(server::user(number)?));
        let heart = Heart {
            clients: server.clients,
            door: server.door,
            upgrades: server.upgrades(Listeners::Own, USERS)?,
            commands: (0..USERS).map(command).collect::<Result<_, String>>()?,
        };
        let (stop, stopped) = oneshot::channel();
        let (has_begun, begun) = oneshot::channel();
        let (reply, felt) = oneshot::channel();
        let work = move || drop(reply.send(heart.run(has_begun, stopped)));
        let thread = thread::Builder::new().name("fanfare-pulse".into()).spawn(work);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let pulse = Self { stop, felt };
        if begun.await.is_err() {
            return pulse.stop().await.and(Err("there is no pulse".into()));
        }
        Ok(pulse)
    }

    /// Waits for the events in flight; fails if one is lost or unexpected.
    async fn stop(self) -> Result<Felt, String> {
        let _ = self.stop.send(()); // a pulse that failed has stopped already
        let felt = self.felt.await;
        felt.map_err(|_| "the pulse ended by a fault".to_owned())?
    }
}

/// Returns the latencies of events during `work`.
pub(crate) async fn feel<T>(server: &Server, work: impl Future<Output = T>) -> Result<(Felt, T), String> {
    let pulse = Pulse::start(server).await?;
    let done = work.await;
    Ok((pulse.stop().await?, done))
}

struct Heart {
    clients: SocketAddr,
    door: SocketAddr,
    upgrades: Vec<Upgrade>,
    commands: Vec<Vec<u8>>,
}

impl Heart {
    fn run(self, begun: oneshot::Sender<()>, stopped: oneshot::Receiver<()>) -> Result<Felt, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        LocalSet::new().block_on(&runtime, self.beat(begun, stopped))
    }

    async fn beat(
        self,
        begun: oneshot::Sender<()>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<Felt, String> {
        let mut lanes = Vec::new();
        for upgrade in &self.upgrades {
            let (socket, early) = client::upgrade(self.clients, upgrade).await?;
            let lane = Rc::<Lane>::default();
            tokio::task::spawn_local(lane.clone().listen(socket, early));
            lanes.push(lane);
        }
        let mut door = Door::open(self.door).await?;
        let _ = begun.send(()); // the starter is gone; then nothing stops the pulse either, and it ends below
        let mut ticks = interval(PACE);
        for (command, lane) in self.commands.iter().zip(&lanes).cycle() {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                _ = ticks.tick() => {}
            }
            lane.under_way.borrow_mut().push_back(Instant::now());
            door.send(command, 1).await?;
        }
        door.settle().await?;
        let deadline = Instant::now() + PATIENCE;
        while lanes.iter().any(|lane| lane.is_behind()) && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        felt(&lanes)
    }
}

/// The events to one user, in order.
#[derive(Default)]
struct Lane {
    /// The publication times of events that have not arrived.
    under_way: RefCell<VecDeque<Instant>>,
    latencies: RefCell<Vec<Duration>>,
    /// Events that were not published.
    surplus: Cell<u64>,
}

impl Lane {
    async fn listen(self: Rc<Self>, mut socket: TcpStream, early: Vec<u8>) {
        let (mut counter, mut buffer) = (FrameCounter::default(), vec![0; 4096]);
        counter.take(&early); // the server's first messages are not events
        while let Ok(read @ 1..) = socket.read(&mut buffer).await {
            self.arrive(counter.take(&buffer[..read]), Instant::now());
        }
    }

    fn arrive(&self, events: u64, now: Instant) {
        for _ in 0..events {
            match self.under_way.borrow_mut().pop_front() {
                Some(published) => self.latencies.borrow_mut().push(now - published),
                None => self.surplus.set(self.surplus.get() + 1),
            }
        }
    }

    fn is_behind(&self) -> bool {
        !self.under_way.borrow().is_empty()
    }
}

/// Merges the results of all lanes.
fn felt(lanes: &[Rc<Lane>]) -> Result<Felt, String> {
    let surplus: u64 = lanes.iter().map(|lane| lane.surplus.get()).sum();
    if surplus > 0 {
        return Err(format!("{surplus} more events arrived than were published"));
    }
    let mut latencies: Vec<_> = lanes.iter().flat_map(|lane| lane.latencies.take()).collect();
    latencies.sort_unstable();
    let left = lanes.iter().map(|lane| lane.under_way.borrow().len() as u64);
    let lost = left.sum();
    Ok(Felt { latencies, lost })
}

impl Felt {
    /// Returns the latency in milliseconds that `percent` of the events did not exceed; not a number without events.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        let found = self.latencies.get(rank - 1);
        found.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let of = |count: u64| Felt {
            latencies: (1..=count)
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
    fn events_are_distinguished_by_their_order() {
        let (now, millis) = (Instant::now(), Duration::from_millis);
        let lanes = [Rc::<Lane>::default(), Rc::<Lane>::default()];
        for (lane, published) in [(0, 0), (1, 1), (0, 4), (1, 5), (0, 6)] {
            let published = now + millis(published);
            lanes[lane].under_way.borrow_mut().push_back(published);
        }
        lanes[0].arrive(2, now + millis(7));
        lanes[1].arrive(1, now + millis(2));
        let felt_so_far = felt(&lanes).unwrap();
        assert_eq!(felt_so_far.latencies, [millis(1), millis(3), millis(7)]);
        assert_eq!(felt_so_far.lost, 2);
        lanes[1].arrive(2, now + millis(9));
        assert!(felt(&lanes).is_err(), "one more than was published");
    }
}
