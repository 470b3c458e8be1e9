//! Figures that only grow, and a few that also fall. Written in batches where messages are many.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use fanfare_core::{Histogram, locked};

/// The node's own.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publications that came in by the broker or the Redis-protocol door.
    pub publications_received: AtomicU64,
    /// Publications dropped because they were not of the documented form.
    pub publications_rejected: AtomicU64,
    /// Events that the broker brought to this node.
    pub events: AtomicU64,
    /// From then until every matching connection of this node had them, written or queued; once for each batch that
    /// matched a connection.
    pub delivery: Arc<Histogram>,
    /// From then until a shard took them up; once for each of its turns, by the batch that waited longest, and
    /// once for each fan-out.
    pub queue_wait: Histogram,
    /// Times that the fan-outs of a shard reached their limit.
    pub fan_outs_full: AtomicU64,
    /// From a WebSocket handshake's request until its connection was admitted.
    pub handshake: Histogram,
    /// Connections accepted that were never upgraded or answered in time.
    pub handshakes_timed_out: AtomicU64,
    /// Requests whose handlers are at work now.
    pub requests_in_progress: AtomicU64,
    /// Requests and handshakes refused because their address came too often.
    pub requests_rate_limited: AtomicU64,
    /// Events that wait now until the authorizer has decided whether a connection may have them.
    pub events_undecided: AtomicU64,
    /// What became of the questions of clients for what they missed: `recovered`, or why not.
    pub resumes: Labelled,
    /// Events that were replayed to clients.
    pub replayed: AtomicU64,
    /// `accept` failed, most often for want of file descriptors.
    pub accept_errors: AtomicU64,
}

/// One dialect's.
#[derive(Debug, Default)]
pub struct DialectCounters {
    /// Connections open now, those being upgraded included.
    pub active: AtomicU64,
    /// Connections opened.
    pub opened: AtomicU64,
    /// Messages written or queued to clients.
    pub sent: AtomicU64,
    /// Of those, answers to what clients said themselves, welcomes included.
    pub answers: AtomicU64,
    /// Of those, messages that were queued to a connection which ended before it had taken them.
    pub abandoned: AtomicU64,
    /// Messages not queued because the client's queue was full.
    pub dropped: AtomicU64,
    /// Messages received from clients.
    pub received: AtomicU64,
    /// Of those, messages dropped unread because their client sent too many.
    pub rate_limited: AtomicU64,
    /// Subscriptions that connections have now.
    pub subscriptions: AtomicU64,
    /// Connections ended by a violation of the protocol, a transport error or a fault of ours.
    pub errors: AtomicU64,
    /// Renderings that failed by a fault of ours.
    pub render_faults: AtomicU64,
    /// Connections ended by the server, by reason.
    pub endings: Labelled,
    /// Handshakes refused, by reason.
    pub refusals: Labelled,
}

impl DialectCounters {
    /// Counts what became of frames.
    pub(super) fn count(&self, sent: Tally) {
        add(&self.sent, sent.queued);
        add(&self.dropped, sent.dropped);
    }
}

/// A counter per label, for things that are rare enough for a lock.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<BTreeMap<&'static str, u64>>);

impl Labelled {
    /// Counts one.
    pub fn add(&self, label: &'static str) {
        *locked(&self.0).entry(label).or_default() += 1;
    }

    /// Everything counted so far.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = locked(&self.0);
        counts.iter().map(|(label, count)| (*label, *count)).collect()
    }
}

/// Adds `count` to a counter, skipping the write when there is nothing to add.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}

/// Frames queued to a connection, and frames it could not take.
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
