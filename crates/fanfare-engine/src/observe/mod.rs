//! The traces and tails of one node's operators. While there is none, a batch of events costs one relaxed load.

mod record;
mod subject;
mod tails;
mod traces;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use fanfare_core::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use uuid::Uuid;

pub use self::{
    record::{
        ConnectionTrace, DeliveryTrace, EntryTrace, EventTrace, Fate, TraceRule, TraceSummary, TracedEvent,
    },
    subject::Subject,
    tails::TailedEvent,
    traces::TraceOrder,
};
pub(crate) use self::{
    tails::TailQueue,
    traces::{Followed, Traced},
};
use self::{tails::Tails, traces::Traces};

/// Limits of `fanfare trace` and `fanfare tail`, on each node: the table `[observe]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveLimits {
    /// The most traced events that a node keeps. The oldest are evicted.
    #[schemars(range(min = 1, max = 10_000))]
    #[default(200)]
    pub max_traces: usize,

    /// The most connections that are recorded and followed of one traced event, and as many again of the user that the trace is
    /// about. The others are counted.
    #[schemars(range(min = 1, max = 5000))]
    #[default(100)]
    pub max_traced_connections: usize,

    /// The most traces that are armed at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    #[default(20)]
    pub max_armed: usize,

    /// The most tails that are open at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    #[default(20)]
    pub max_tails: usize,

    /// The most events that wait for the reader of one tail. Further ones are lost, and the reader gets their number.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(1000)]
    pub tail_queue: usize,

    /// The most bytes of such events. An event that is larger waits alone.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    #[default(4 << 20)]
    pub tail_queue_size: usize,

    /// The most events that one tail shows in a second. Further ones wait in its queue, and are lost when that is full.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(5000)]
    pub max_tail_events_per_second: u32,
}

/// The figures about a node's traces and tails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObserveFigures {
    /// Armed traces now.
    pub armed: u64,
    /// Traces that were not armed, because there were too many.
    pub armed_refused: u64,
    /// Traced events that are kept now.
    pub traces: u64,
    /// Traced events evicted since the start.
    pub traces_evicted: u64,
    /// Connections that were not recorded since the start.
    pub connections_left_out: u64,
    /// Connections whose sockets are examined now.
    pub connections_followed: u64,
    /// Tails now.
    pub tails: u64,
    /// Tails that were refused, because there were too many.
    pub tails_refused: u64,
    /// Events that slow readers of tails have lost since the start.
    pub tail_events_lost: u64,
}

pub(crate) struct Observers {
    /// Whether there is an armed trace or a tail. An expired trace counts until the next event.
    is_watching: AtomicBool,
    pub(crate) traces: Traces,
    tails: Tails,
}

impl Observers {
    pub(crate) fn new(limits: ObserveLimits) -> Self {
        Self {
            is_watching: AtomicBool::new(false),
            traces: Traces::new(limits),
            tails: Tails::new(limits),
        }
    }

    #[inline]
    pub(crate) fn is_watching(&self) -> bool {
        self.is_watching.load(Relaxed)
    }

    /// Arms a trace; returns whether there was room for it.
    pub(crate) fn arm(&self, order: TraceOrder) -> bool {
        let armed = self.traces.arm(order);
        self.refresh();
        armed
    }

    /// Copies arriving `events` to the tails. Returns the traces of the traced ones, each with the event's index.
    pub(crate) fn received(&self, node: Uuid, events: &[Event], now: SystemTime) -> Vec<(u32, Arc<Traced>)> {
        self.refresh();
        let mut traced = Vec::new();
        for (at, event) in (0u32..).zip(events) {
            self.tails.offer(event);
            traced.extend(self.traces.of(node, event, now).map(|trace| (at, trace)));
        }
        traced
    }

    /// Opens a tail; returns `None` if there are too many.
    pub(crate) fn open_tail(&self, subjects: Vec<Subject>) -> Option<Arc<TailQueue>> {
        let tail = self.tails.open(subjects);
        self.refresh();
        tail
    }

    pub(crate) fn close_tail(&self, tail: &Arc<TailQueue>) {
        self.tails.close(tail);
        self.refresh();
    }

    pub(crate) fn figures(&self) -> ObserveFigures {
        let (armed, traces) = self.traces.sizes();
        ObserveFigures {
            armed: armed as u64,
            armed_refused: self.traces.refused.load(Relaxed),
            traces: traces as u64,
            traces_evicted: self.traces.evicted.load(Relaxed),
            connections_left_out: self.traces.tallies.left_out.load(Relaxed),
            connections_followed: self.traces.tallies.followed.load(Relaxed),
            tails: self.tails.len() as u64,
            tails_refused: self.tails.refused.load(Relaxed),
            tail_events_lost: self.tails.lost.load(Relaxed),
        }
    }

    /// Sets the flag. A concurrent call may clear it just after a trace or tail began, so each call checks once more. A flag that
    /// stays set for nothing is cleared at the next event.
    fn refresh(&self) {
        let is_watched = || self.traces.sizes().0 > 0 || self.tails.len() > 0;
        self.is_watching.store(is_watched(), Relaxed);
        if is_watched() {
            self.is_watching.store(true, Relaxed);
        }
    }
}
