//! The counters and gauges of a node and its dialects.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use fanfare_core::{Histogram, locked};

/// The counters of a node.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publications that arrived by the broker or the Redis-protocol door.
    pub publications_received: AtomicU64,
    /// Publications that were dropped because their form was wrong.
    pub publications_rejected: AtomicU64,
    /// Events that the broker delivered to this node.
    pub events: AtomicU64,
    /// The time from the arrival of a batch until its events were written or queued for every matching connection of this
    /// node. Batches that matched no connection are not counted.
    pub delivery: Arc<Histogram>,
    /// The time from the arrival of a batch until a shard began to deliver it. A shard records the oldest batch of each delivery,
    /// and each fan-out.
    pub queue_wait: Histogram,
    /// The number of times that the fan-outs of a shard reached their limit.
    pub fan_outs_full: AtomicU64,
    /// The time from a WebSocket handshake's request until its connection was admitted.
    pub handshake: Histogram,
    /// Accepted connections that were not upgraded or answered in time.
    pub handshakes_timed_out: AtomicU64,
    /// Requests that are being handled now.
    pub requests_in_progress: AtomicU64,
    /// Requests and handshakes that were refused because their address sent too many.
    pub requests_rate_limited: AtomicU64,
    /// Events that wait for the authorizer's decision now.
    pub events_undecided: AtomicU64,
    /// The results of clients' requests to resume: `recovered`, or the reason why not.
    pub resumes: Labelled,
    /// Events that were replayed to clients.
    pub replayed: AtomicU64,
    /// Failures of `accept`, mostly because the process has no file descriptor left.
    pub accept_errors: AtomicU64,
}

/// The counters of one dialect.
#[derive(Debug, Default)]
pub struct DialectCounters {
    /// Connections that are open or being upgraded now.
    pub active: AtomicU64,
    /// Connections that were opened.
    pub opened: AtomicU64,
    /// Messages that were written or queued to clients.
    pub sent: AtomicU64,
    /// Of those, answers to clients' messages, welcomes included.
    pub answers: AtomicU64,
    /// Of those, messages that were queued when their connection ended.
    pub abandoned: AtomicU64,
    /// Messages that were not queued because the client's queue was full.
    pub dropped: AtomicU64,
    /// Messages from clients.
    pub received: AtomicU64,
    /// Of those, messages that were dropped because the client sent too many.
    pub rate_limited: AtomicU64,
    /// Subscriptions that connections have now.
    pub subscriptions: AtomicU64,
    /// Connections that ended by a protocol violation, a transport error or a bug.
    pub errors: AtomicU64,
    /// Renderings that failed by a bug.
    pub render_faults: AtomicU64,
    /// Connections that the server ended, by reason.
    pub endings: Labelled,
    /// Refused handshakes, by reason.
    pub refusals: Labelled,
}

impl DialectCounters {
    pub(super) fn count(&self, sent: Tally) {
        add(&self.sent, sent.queued);
        add(&self.dropped, sent.dropped);
    }
}

/// A counter for each label, for events that are rare enough for a lock.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<BTreeMap<&'static str, u64>>);

impl Labelled {
    /// Counts one.
    pub fn add(&self, label: &'static str) {
        *locked(&self.0).entry(label).or_default() += 1;
    }

    /// Returns all counts.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = locked(&self.0);
        counts.iter().map(|(label, count)| (*label, *count)).collect()
    }
}

/// Adds `count` to a counter, and writes nothing for 0.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}

/// The frames that were queued to connections, and those that were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) queued: u64,
    pub(crate) dropped: u64,
}

impl Tally {
    pub(crate) const QUEUED: Self = Self {
        queued: 1,
        dropped: 0,
    };
    pub(crate) const DROPPED: Self = Self {
        queued: 0,
        dropped: 1,
    };
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}
