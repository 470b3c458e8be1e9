//! Armed traces, and the traced events that a node keeps.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fanfare_core::{Event, Reach, locked};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ObserveLimits, Subject,
    record::{ConnectionTrace, DeliveryTrace, EntryTrace, EventTrace, TraceSummary, TracedEvent},
};
use crate::clock::{unix_micros, unix_millis};

/// The time for which a trace that has all its events still records their outcome.
const AFTERMATH: Duration = Duration::from_secs(5);

/// An order to trace the next events of some subjects, in the form that nodes exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceOrder {
    /// Its id.
    pub id: Uuid,
    /// The events to trace.
    pub subjects: Vec<Subject>,
    /// The user whose connections are recorded even if they do not match.
    pub user: Option<Box<str>>,
    /// The most events on each node.
    pub events: usize,
    /// The time for which it is armed, in seconds.
    pub seconds: u64,
}

struct Arm {
    order: TraceOrder,
    left: usize,
    until: Instant,
}

#[derive(Default)]
struct Kept {
    arms: Vec<Arm>,
    /// The oldest first.
    ring: VecDeque<Arc<Traced>>,
}

pub(crate) struct Traces {
    limits: ObserveLimits,
    kept: Mutex<Kept>,
    /// Whether any event was traced since the start. If not, `find` need not search.
    is_used: AtomicBool,
    pub(super) evicted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) tallies: Arc<TraceTallies>,
}

/// The counters of a node's traced events.
#[derive(Default)]
pub(super) struct TraceTallies {
    /// Connections that were not recorded since the start.
    pub(super) left_out: AtomicU64,
    /// Connections that are followed now.
    pub(super) followed: AtomicU64,
}

pub(crate) struct Traced {
    id: Uuid,
    begun: Instant,
    /// The user whose connections are recorded even if they did not match.
    focus: Option<Box<str>>,
    /// The numbers of connections of that user, and of other users, that may still be recorded.
    room_of_focus: AtomicUsize,
    room: AtomicUsize,
    trace: Mutex<EventTrace>,
    tallies: Arc<TraceTallies>,
}

/// The connections of a traced event whose sockets are examined, until the trace is evicted.
pub(crate) struct Followed {
    traced: Weak<Traced>,
    connections: usize,
    tallies: Arc<TraceTallies>,
}

impl Traces {
    pub(super) fn new(limits: ObserveLimits) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
            is_used: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tallies: Arc::default(),
        }
    }

    /// Arms a trace; returns whether there was room for it.
    pub(super) fn arm(&self, order: TraceOrder) -> bool {
        let mut kept = locked(&self.kept);
        kept.prune();
        if kept.arms.iter().any(|arm| arm.order.id == order.id) {
            return true;
        }
        if kept.arms.len() >= self.limits.max_armed {
            self.refused.fetch_add(1, Relaxed);
            return false;
        }
        kept.arms.push(Arm {
            left: order.events,
            until: Instant::now() + Duration::from_secs(order.seconds),
            order,
        });
        true
    }

    /// Returns the trace of `event`, if an armed trace covers it; begins the trace at the first call.
    pub(crate) fn of(&self, node: Uuid, event: &Event, now: std::time::SystemTime) -> Option<Arc<Traced>> {
        let mut kept = locked(&self.kept);
        kept.prune();
        if !kept.arms.iter().any(|arm| arm.covers(event)) {
            return None;
        }
        if let Some(known) = kept.find(event.id) {
            return Some(known);
        }
        let mut arms: Vec<_> = kept.arms.iter_mut().filter(|arm| arm.wants(event)).collect();
        let first = arms.first()?;
        let trace = EventTrace {
            node,
            recorded_at_us: unix_micros(now),
            arms: arms.iter().map(|arm| arm.order.id).collect(),
            focus: first.order.user.clone(),
            event: TracedEvent::of(event, unix_millis(event.timestamp)),
            entry: None,
            delivery: None,
        };
        for arm in &mut arms {
            arm.left -= 1;
            if arm.left == 0 {
                arm.end();
            }
        }
        let room = self.limits.max_traced_connections;
        let traced = Arc::new(Traced {
            id: event.id,
            begun: Instant::now(),
            focus: trace.focus.clone().or_else(|| trace.event.user.clone()),
            room_of_focus: room.into(),
            room: room.into(),
            trace: Mutex::new(trace),
            tallies: self.tallies.clone(),
        });
        if kept.ring.len() >= self.limits.max_traces {
            kept.ring.pop_front();
            self.evicted.fetch_add(1, Relaxed);
        }
        kept.ring.push_back(traced.clone());
        self.is_used.store(true, Relaxed);
        Some(traced)
    }

    /// Returns the trace of the event with this id, if it is kept.
    pub(crate) fn find(&self, id: Uuid) -> Option<Arc<Traced>> {
        if !self.is_used.load(Relaxed) {
            return None;
        }
        locked(&self.kept).find(id)
    }

    /// Returns the traced events, the latest first; with `order`, those of one order.
    pub(crate) fn list(&self, order: Option<Uuid>, limit: usize) -> Vec<TraceSummary> {
        let kept = locked(&self.kept);
        let all = kept.ring.iter().rev().map(|traced| traced.summary());
        let wanted = all.filter(|one| order.is_none_or(|order| one.arms.contains(&order)));
        wanted.take(limit).collect()
    }

    /// Returns the number of armed traces and of kept events.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let mut kept = locked(&self.kept);
        kept.prune();
        (kept.arms.len(), kept.ring.len())
    }

    /// Returns the time at which the armed trace with this id ends, which may become earlier; `None` if it has ended.
    pub(crate) fn armed_until(&self, order: Uuid) -> Option<Instant> {
        let mut kept = locked(&self.kept);
        kept.prune();
        let own = kept.arms.iter().find(|arm| arm.order.id == order);
        own.map(|arm| arm.until)
    }

    /// Ends an armed trace; returns whether it was armed.
    pub(crate) fn disarm(&self, order: Uuid) -> bool {
        let mut kept = locked(&self.kept);
        kept.prune();
        let own = kept.arms.iter_mut().find(|arm| arm.order.id == order);
        own.map(Arm::end).is_some()
    }
}

impl Kept {
    fn prune(&mut self) {
        let now = Instant::now();
        self.arms.retain(|arm| now < arm.until);
    }

    fn find(&self, id: Uuid) -> Option<Arc<Traced>> {
        self.ring.iter().find(|traced| traced.id == id).cloned()
    }
}

impl Arm {
    fn covers(&self, event: &Event) -> bool {
        self.order.subjects.iter().any(|subject| subject.covers(event))
    }

    fn wants(&self, event: &Event) -> bool {
        self.left > 0 && self.covers(event)
    }

    /// Ends the order: it traces no further events, and records the outcome of earlier ones for a while.
    fn end(&mut self) {
        self.left = 0;
        self.until = self.until.min(Instant::now() + AFTERMATH);
    }
}

impl Traced {
    /// Records the entry of the event. The first entry counts: a repeated id is not published again.
    pub(crate) fn entered(&self, entry: EntryTrace) {
        locked(&self.trace).entry.get_or_insert(entry);
    }

    /// Records that the event has arrived, for `shards` shards.
    pub(crate) fn received(&self, at_us: u64, shards: usize) {
        let mut trace = locked(&self.trace);
        let delivery = trace.delivery.get_or_insert_default();
        (delivery.at_us, delivery.shards) = (at_us, shards);
    }

    /// Returns the user whose connections are recorded even if they did not match.
    pub(crate) fn focus(&self) -> Option<&str> {
        self.focus.as_deref()
    }

    /// Returns the microseconds since the node began the trace.
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Reserves room for the record of a connection of `user`; returns whether there was any. The focused user has separate room, so
    /// that a crowd does not hide its connections.
    pub(crate) fn has_room(&self, user: Option<&str>) -> bool {
        let is_focus = user.is_some() && user == self.focus();
        let room = if is_focus { &self.room_of_focus } else { &self.room };
        room.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Adds the record of a connection for which there was [room](Self::has_room).
    pub(crate) fn record(&self, connection: ConnectionTrace) {
        let mut trace = locked(&self.trace);
        let delivery = trace.delivery.get_or_insert_default();
        delivery.filtered += u64::from(connection.fate.is_filtered());
        delivery.connections.push(connection);
    }

    pub(crate) fn has_record(&self, connection: Uuid) -> bool {
        let trace = locked(&self.trace);
        let mut all = trace.delivery.iter().flat_map(|delivery| &delivery.connections);
        all.any(|one| one.id == connection)
    }

    /// Counts connections that are not recorded; `filtered` of them were not allowed to receive the event.
    pub(crate) fn count_unrecorded(&self, connections: u64, filtered: u64) {
        let mut trace = locked(&self.trace);
        let delivery = trace.delivery.get_or_insert_default();
        delivery.filtered += filtered;
        delivery.left_out += connections;
        self.tallies.left_out.fetch_add(connections, Relaxed);
    }

    pub(crate) fn followed(self: &Arc<Self>, connections: usize) -> Followed {
        self.tallies.followed.fetch_add(connections as u64, Relaxed);
        Followed {
            traced: Arc::downgrade(self),
            connections,
            tallies: self.tallies.clone(),
        }
    }

    /// Changes the record of a connection, if it has one.
    pub(crate) fn update(&self, connection: Uuid, change: impl FnOnce(&mut ConnectionTrace)) {
        let mut trace = locked(&self.trace);
        let delivery = trace.delivery.iter_mut();
        let mut all = delivery.flat_map(|delivery| &mut delivery.connections);
        if let Some(known) = all.find(|one| one.id == connection) {
            change(known);
        }
    }

    /// Records that a shard has finished its delivery.
    pub(crate) fn finished(&self, reach: Reach) {
        let mut trace = locked(&self.trace);
        let delivery: &mut DeliveryTrace = trace.delivery.get_or_insert_default();
        delivery.finished += 1;
        delivery.matched += reach.matched;
        delivery.queued += reach.queued;
        delivery.dropped += reach.dropped;
    }

    pub(crate) fn snapshot(&self) -> EventTrace {
        locked(&self.trace).clone()
    }

    fn summary(&self) -> TraceSummary {
        let trace = locked(&self.trace);
        TraceSummary {
            event: trace.event.clone(),
            recorded_at_us: trace.recorded_at_us,
            arms: trace.arms.clone(),
        }
    }
}

impl Followed {
    /// Returns the trace; `None` once it was evicted.
    pub(crate) fn traced(&self) -> Option<Arc<Traced>> {
        self.traced.upgrade()
    }

    /// Reduces the number of followed connections to `connections`.
    pub(crate) fn set_connections(&mut self, connections: usize) {
        let ended = self.connections.saturating_sub(connections);
        self.tallies.followed.fetch_sub(ended as u64, Relaxed);
        self.connections = connections;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.set_connections(0);
    }
}
