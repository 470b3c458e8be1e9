//! Publishes messages in a closed or an open loop, and measures their deliveries.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Percentiles, Traffic,
    marks::{MOST_PUBLISHERS, Mark, MarkReader, Sums},
    plan::{Message, Pace, Plan, Script, Transport, bytes},
};
use crate::{
    client::{self, Upgrade},
    frames::FrameCounter,
    process::{Spent, Window},
    receivers::{Receivers, Tally},
};

/// The batches of the addressed messages in flight. With several, the server always has work.
const BATCHES: usize = 4;
/// The shortest wait by a timer; for shorter ones the loop polls the clock.
const TIMER_GRAIN: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Publishes by `script` to the clients of `plan` for `length`.
pub(super) async fn measure(
    plan: &Plan,
    upgrades: &[Upgrade],
    script: &Script,
    addressed: bool,
    pace: Pace,
    length: Duration,
) -> Result<Traffic, String> {
    if !(1..=MOST_PUBLISHERS).contains(&script.count) || upgrades.is_empty() {
        return Err(format!(
            "a plan needs clients and 1 to {MOST_PUBLISHERS} publishers"
        ));
    }
    let sums = Sums::new()?;
    let receivers = Receivers::upgrade_with(plan.address, upgrades, || {
        MarkReader::new(sums.clone(), script.count)
    })
    .await?;
    let mut run = Run {
        publishers: Publishers::open(script, script.address.unwrap_or(plan.address)).await?,
        sequences: vec![0; script.count * if addressed { receivers.len() } else { 1 }],
        receivers,
        sums,
        addressed,
        published: 0,
    };
    if let (_, Some(stopped)) = run.repeat(pace, length / 10, plan.pid).await? {
        return Err(format!("while it warmed up: {stopped}"));
    }
    run.sums.latencies.borrow_mut().reset();
    let tally = run.receivers.tally();
    let before = (tally.units(), tally.bytes());
    let (spent, stopped) = run.repeat(pace, length, plan.pid).await?;
    let tally = run.receivers.tally();
    let (deliveries, bytes) = (tally.units() - before.0, tally.bytes() - before.1);
    Ok(run.finish(deliveries, bytes, spent, stopped).await)
}

struct Run {
    publishers: Publishers,
    receivers: Receivers,
    sums: Rc<Sums>,
    addressed: bool,
    published: u64,
    /// The next sequence number of each publisher, for each receiver if messages are addressed.
    sequences: Vec<u64>,
}

impl Run {
    /// Publishes for `length`. Returns the time and CPU that it took, and the reason if it ended early.
    async fn repeat(
        &mut self,
        pace: Pace,
        length: Duration,
        pid: u32,
    ) -> Result<(Spent, Option<String>), String> {
        let window = Window::open(pid)?;
        let published = match pace {
            Pace::InFlight(count) => self.closed_loop(count.max(1), length, &window).await,
            Pace::PerSecond(rate) if rate > 0.0 => self.open_loop(1.0 / rate, length, &window).await,
            Pace::PerSecond(rate) => return Err(format!("{rate} messages a second")),
        };
        Ok((window.close()?, published.err()))
    }

    async fn closed_loop(
        &mut self,
        in_flight: usize,
        length: Duration,
        window: &Window,
    ) -> Result<(), String> {
        let batches = if self.addressed { BATCHES } else { 1 };
        let batch = in_flight.div_ceil(batches);
        let ahead = in_flight - batch;
        self.publish(ahead, |now| now).await?;
        while !window.is_over(length) {
            self.publish(batch, |now| now).await?;
            let arrived = self.expected() - self.receivers() * ahead as u64;
            self.receivers.tally().wait_for(arrived).await?;
        }
        self.receivers.tally().wait_for(self.expected()).await
    }

    async fn open_loop(&mut self, interval: f64, length: Duration, window: &Window) -> Result<(), String> {
        let start = self.sums.now();
        let mut count: u32 = 0;
        let due = |count: u32| start + Duration::from_secs_f64(interval * f64::from(count));
        while !window.is_over(length) {
            let now = self.sums.now();
            let first = count;
            while due(count) <= now {
                count += 1;
            }
            let mut next = first;
            let overdue = |_| {
                next += 1;
                due(next - 1)
            };
            self.publish((count - first) as usize, overdue).await?;
            let left = due(count).saturating_sub(self.sums.now());
            match left.checked_sub(TIMER_GRAIN) {
                Some(left) => sleep(left).await,
                None => tokio::task::yield_now().await,
            }
        }
        Ok(())
    }

    /// Publishes `count` messages. `due` returns the due time of each, from the current time.
    async fn publish(
        &mut self,
        count: usize,
        mut due: impl FnMut(Duration) -> Duration,
    ) -> Result<(), String> {
        let publishers = self.publishers.buffers.len();
        for _ in 0..count {
            let nth = usize::try_from(self.published).unwrap_or(usize::MAX);
            let (publisher, receiver) = (nth % publishers, nth % self.receivers.len());
            let index = publisher + if self.addressed { receiver * publishers } else { 0 };
            let mark = Mark {
                publisher,
                sequence: self.sequences[index],
                at: due(self.sums.now()),
            };
            self.publishers.add(publisher, receiver, mark);
            self.sequences[index] += 1;
            self.published += 1;
        }
        self.publishers.flush().await
    }

    fn receivers(&self) -> u64 {
        if self.addressed {
            1
        } else {
            self.receivers.len() as u64
        }
    }

    /// Returns the number of deliveries of all publications.
    fn expected(&self) -> u64 {
        self.published * self.receivers()
    }

    async fn finish(self, deliveries: u64, bytes: u64, spent: Spent, mut stopped: Option<String>) -> Traffic {
        if stopped.is_none() {
            stopped = self.receivers.tally().wait_for(self.expected()).await.err();
        }
        let lost = self.expected().saturating_sub(self.receivers.tally().units());
        let latency_us = Percentiles::of(&self.sums.latencies.borrow());
        let (duplicated, reordered) = (self.sums.duplicated.get(), self.sums.reordered.get());
        self.receivers.close().await;
        Traffic {
            deliveries,
            bytes,
            usage: spent.into(),
            latency_us,
            published: self.published,
            lost,
            duplicated,
            reordered,
            stopped,
        }
    }
}

/// The connections that publish. The messages that they receive are dropped.
struct Publishers {
    message: Message,
    transport: Transport,
    sockets: Vec<OwnedWriteHalf>,
    buffers: Vec<Vec<u8>>,
    /// The tasks that read, which end with this.
    _reading: JoinSet<()>,
}

impl Publishers {
    async fn open(script: &Script, address: SocketAddr) -> Result<Self, String> {
        let (mut sockets, mut reading, read) = (Vec::new(), JoinSet::new(), Tally::new());
        for (number, upgrade) in script.upgrades(address)?.iter().enumerate() {
            let (socket, _) = match script.transport {
                Transport::Tcp => (open_tcp(script, number, address).await?, Vec::new()),
                Transport::Text | Transport::Binary => client::upgrade(address, upgrade).await?,
            };
            let (from, to) = socket.into_split();
            reading.spawn_local(read.clone().read(from, FrameCounter::default()));
            sockets.push(to);
        }
        let buffers = vec![Vec::new(); sockets.len()];
        Ok(Self {
            message: Message::parse(&script.message)?,
            transport: script.transport,
            sockets,
            buffers,
            _reading: reading,
        })
    }

    fn add(&mut self, publisher: usize, receiver: usize, mark: Mark) {
        let payload = self.message.payload(receiver, mark.to_text().as_bytes());
        self.buffers[publisher].extend(self.transport.carry(&payload));
    }

    async fn flush(&mut self) -> Result<(), String> {
        for (socket, buffer) in self.sockets.iter_mut().zip(&mut self.buffers) {
            let sent = socket.write_all(buffer).await;
            sent.map_err(|error| format!("publishing: {error}"))?;
            buffer.clear();
        }
        Ok(())
    }
}

async fn open_tcp(script: &Script, number: usize, address: SocketAddr) -> Result<TcpStream, String> {
    let mut socket = client::connect(address).await?;
    let confirmation = bytes(script.confirmation.as_deref().unwrap_or_default())?;
    let opening = script.opening(number)?;
    let confirmed = async {
        socket.write_all(&opening).await?;
        let mut response = Vec::new();
        while memmem::find(&response, &confirmation).is_none() {
            if socket.read_buf(&mut response).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    let confirmed = timeout(TIMEOUT, confirmed).await;
    confirmed
        .map_err(|_| format!("a publisher was not confirmed in {TIMEOUT:?}"))?
        .map_err(|error| format!("opening a publisher: {error}"))?;
    Ok(socket)
}
