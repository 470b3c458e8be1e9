//! Many connections that only receive. They share one thread and one read buffer, read each socket once per wake-up, and
//! parse headers only: the cost of more expensive receivers would distort the figures.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use crate::{
    client::{self, Upgrade},
    frames::{Counter, FrameCounter},
};

const CONCURRENCY: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(20);
const READ_BUFFER: usize = 64 * 1024;

/// The units that arrived, over all connections that share it.
pub(crate) struct Tally {
    buffer: RefCell<Box<[u8]>>,
    units: Cell<u64>,
    bytes: Cell<u64>,
    ended: Cell<u64>,
    goal: Cell<u64>,
    changed: Notify,
}

impl Tally {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            units: Cell::new(0),
            bytes: Cell::new(0),
            ended: Cell::new(0),
            goal: Cell::new(u64::MAX),
            changed: Notify::new(),
        })
    }

    pub(crate) fn units(&self) -> u64 {
        self.units.get()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Waits until `units` have arrived in total; fails if they do not in time, or the server ends a connection.
    pub(crate) async fn wait_for(&self, units: u64) -> Result<(), String> {
        self.goal.set(units);
        let arrived = async {
            while self.units.get() < units && self.ended.get() == 0 {
                self.changed.notified().await;
            }
        };
        let in_time = timeout(TIMEOUT, arrived).await;
        match (in_time, self.ended.get()) {
            (Ok(()), 0) => Ok(()),
            (_, ended @ 1..) => Err(format!("the server ended {ended} connections")),
            (Err(_), 0) => {
                let arrived = self.units.get();
                Err(format!("{arrived} of {units} messages arrived, then no more"))
            }
        }
    }

    /// Reads from `socket` to its end.
    pub(crate) async fn read(self: Rc<Self>, mut socket: impl AsyncRead + Unpin, mut counter: impl Counter) {
        while let Ok(1..) = poll_fn(|cx| self.poll_read(&mut socket, &mut counter, cx)).await {}
        self.ended.set(self.ended.get() + 1);
        self.changed.notify_one();
    }

    fn poll_read(
        &self,
        socket: &mut (impl AsyncRead + Unpin),
        counter: &mut impl Counter,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        // Not `try_read`: after a read that did not fill the buffer, `poll_read` does not try the empty socket again.
        ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        self.count(counter.take(read), read.len());
        Poll::Ready(Ok(read.len()))
    }

    fn count(&self, units: u64, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.units.set(self.units.get() + units);
        if self.units.get() >= self.goal.get() {
            self.goal.set(u64::MAX);
            self.changed.notify_one();
        }
    }
}

pub(crate) struct Receivers {
    tally: Rc<Tally>,
    tasks: JoinSet<()>,
}

impl Receivers {
    /// Opens a WebSocket connection for each of `upgrades`, and waits until all have subscribed.
    pub(crate) async fn upgrade(address: SocketAddr, upgrades: &[Upgrade]) -> Result<Self, String> {
        Self::upgrade_with(address, upgrades, FrameCounter::default).await
    }

    /// Does the same with a new counter for each connection.
    pub(crate) async fn upgrade_with<C: Counter + 'static>(
        address: SocketAddr,
        upgrades: &[Upgrade],
        new_counter: impl Fn() -> C,
    ) -> Result<Self, String> {
        let opening = upgrades.iter().map(|upgrade| {
            let counter = new_counter();
            async move {
                let (socket, early) = client::upgrade(address, upgrade).await?;
                Ok((socket, early, counter))
            }
        });
        Self::open(opening).await
    }

    pub(crate) async fn connect(address: SocketAddr, count: usize) -> Result<Self, String> {
        let opening = (0..count).map(|_| async move {
            let socket = client::connect(address).await?;
            Ok((socket, Vec::new(), FrameCounter::default()))
        });
        Self::open(opening).await
    }

    async fn open<C: Counter + 'static>(
        opening: impl Iterator<Item = impl Future<Output = Result<(TcpStream, Vec<u8>, C), String>>>,
    ) -> Result<Self, String> {
        let mut receivers = Self {
            tally: Tally::new(),
            tasks: JoinSet::new(),
        };
        let mut sockets = stream::iter(opening).buffer_unordered(CONCURRENCY);
        while let Some((socket, early, counter)) = sockets.try_next().await? {
            receivers.add(socket, &early, counter);
        }
        Ok(receivers)
    }

    /// Adds a connection. `early` arrived together with the response to the upgrade request.
    fn add(&mut self, socket: TcpStream, early: &[u8], mut counter: impl Counter + 'static) {
        self.tally.count(counter.take(early), early.len());
        let reading = self.tally.clone().read(socket, counter);
        self.tasks.spawn_local(reading);
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Checks that all frames so far had `len` bytes, headers included.
    pub(crate) fn check_frame_len(&self, len: usize) -> Result<(), String> {
        let (frames, bytes) = (self.tally.units.get(), self.tally.bytes());
        if bytes == frames * len as u64 {
            return Ok(());
        }
        Err(format!(
            "{frames} frames of {len} bytes were expected, but they had {bytes} bytes together"
        ))
    }

    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
