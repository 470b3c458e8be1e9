//! What all shards share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use fanfare_core::{
    Broker, BrokerError, BrokerHealth, Dialect, DialectFacts, Event, Interests, NodeFacts, Receipt, UserId,
};
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Counters, DialectCounters, DialectSettings, ShardCommand, ShardHandle, admission::Addresses};

/// The broker's promise that events for a user reach this node; `None` once it holds.
pub(super) type InForce = Option<Shared<BoxFuture<'static, ()>>>;

/// One node: its dialects, its shards, its broker.
pub struct Node {
    /// This node's name among others.
    pub id: Uuid,
    /// Every registered dialect, by its number.
    pub dialects: Vec<Arc<MountedDialect>>,
    /// The node's own figures.
    pub counters: Counters,
    pub(super) interests: Interests<InForce>,
    shards: OnceLock<Vec<ShardHandle>>,
    broker: OnceLock<Arc<dyn Broker>>,
    started: Instant,
    started_at: SystemTime,
    draining: AtomicBool,
    connections: AtomicU64,
}

/// A dialect with what this node allows it and counts of it.
pub struct MountedDialect {
    /// Its place among the dialects.
    pub number: usize,
    /// The protocol.
    pub dialect: &'static dyn Dialect,
    /// Its limits and times.
    pub settings: DialectSettings,
    /// Its figures.
    pub counters: DialectCounters,
    pub(super) addresses: Addresses,
}

impl Node {
    /// A node with these dialects; their order gives them their numbers.
    pub fn new(dialects: Vec<(&'static dyn Dialect, DialectSettings)>) -> Arc<Self> {
        let mount = |(number, (dialect, settings))| {
            let (counters, addresses) = (DialectCounters::default(), Addresses::default());
            Arc::new(MountedDialect {
                number,
                dialect,
                settings,
                counters,
                addresses,
            })
        };
        Arc::new(Self {
            id: Uuid::now_v7(),
            interests: Interests::new(dialects.len()),
            dialects: dialects.into_iter().enumerate().map(mount).collect(),
            counters: Counters::default(),
            shards: OnceLock::new(),
            broker: OnceLock::new(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            draining: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        })
    }

    /// Gives the node its shards and its broker; both are needed before the first connection.
    pub fn attach(&self, shards: Vec<ShardHandle>, broker: Arc<dyn Broker>) {
        // Called once by the composition root; a second call would find the first one's in place and changes nothing.
        let _ = self.shards.set(shards);
        let _ = self.broker.set(broker);
    }

    /// Publishes `events` by the broker, in order; one receipt for each.
    pub async fn publish(&self, events: Vec<Event>) -> Vec<Receipt> {
        match self.broker.get() {
            Some(broker) => broker.publish(events).await,
            None => vec![
                Receipt {
                    degraded: true,
                    ..Receipt::default()
                };
                events.len()
            ],
        }
    }

    /// The broker, once attached.
    pub fn broker(&self) -> Option<&Arc<dyn Broker>> {
        self.broker.get()
    }

    /// How the broker is, measured now.
    pub async fn broker_health(&self) -> BrokerHealth {
        match self.broker.get() {
            Some(broker) => broker.health().await,
            None => BrokerHealth::Disconnected {
                error: "starting".into(),
            },
        }
    }

    /// Sends a probe through the broker and back, and through every shard.
    ///
    /// # Errors
    /// When it did not come back.
    pub async fn probe(&self) -> Result<Duration, BrokerError> {
        self.broker.get().ok_or(BrokerError::Away)?.probe().await
    }

    /// Closes every connection over `window` and refuses new ones from now on.
    pub fn drain(&self, window: Duration) {
        self.draining.store(true, Relaxed);
        for shard in self.shards() {
            shard.send(ShardCommand::Drain(window));
        }
    }

    /// Whether the node drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Connections open now, of every dialect.
    pub fn active(&self) -> u64 {
        self.dialects
            .iter()
            .map(|mounted| mounted.counters.active.load(Relaxed))
            .sum()
    }

    /// How many connections `user` has on this node.
    pub fn connections_of(&self, user: &str) -> usize {
        self.interests.connections_of(user)
    }

    /// The users this node holds, in no order.
    pub fn users(&self) -> Vec<UserId> {
        self.interests.users()
    }

    /// Since the node started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the node started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The figures for reports.
    pub fn facts<'a>(&self, broker: &'a BrokerHealth) -> NodeFacts<'a> {
        NodeFacts {
            now: SystemTime::now(),
            uptime: self.uptime(),
            version: env!("CARGO_PKG_VERSION"),
            broker,
            publications_received: self.counters.publications_received.load(Relaxed),
            publications_rejected: self.counters.publications_rejected.load(Relaxed),
            shards: self.shards().len(),
        }
    }

    /// The figures of one dialect.
    pub fn dialect_facts(&self, mounted: &MountedDialect) -> DialectFacts {
        let counters = &mounted.counters;
        DialectFacts {
            active: counters.active.load(Relaxed),
            opened: counters.opened.load(Relaxed),
            users: self.interests.users_in(mounted.number),
            max_connections: mounted.settings.max_connections as u64,
            sent: counters
                .sent
                .load(Relaxed)
                .saturating_sub(counters.abandoned.load(Relaxed)),
            failed: counters.dropped.load(Relaxed) + counters.abandoned.load(Relaxed),
            received: counters.received.load(Relaxed),
            errors: counters.errors.load(Relaxed),
        }
    }

    /// Passes a marker through every shard's queue of deliveries and waits for all.
    pub(super) async fn probe_shards(&self) -> Result<(), BrokerError> {
        let answers: Vec<_> = self
            .shards()
            .iter()
            .map(|shard| {
                let (tell, told) = oneshot::channel();
                shard.send(ShardCommand::Probe(tell));
                told
            })
            .collect();
        for answer in answers {
            answer.await.map_err(|_| BrokerError::Away)?;
        }
        Ok(())
    }

    pub(super) fn shards(&self) -> &[ShardHandle] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    /// Milliseconds since the node started, by a clock that never jumps.
    pub(super) fn clock_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }
}
