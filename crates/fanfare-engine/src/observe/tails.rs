//! Tails: live copies of watched events, in a bounded queue for each reader.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fanfare_core::{Event, locked};
use tokio::{sync::Notify, time::Instant};

use super::{ObserveLimits, Subject};

/// The time whose events a tail may return in a burst.
const BURST: Duration = Duration::from_millis(100);

/// An event in a tail.
#[derive(Debug, Clone)]
pub struct TailedEvent {
    /// The event.
    pub event: Event,
    /// The number of events right before it that the tail has lost, because its reader was too slow.
    pub lost: u64,
}

pub(crate) struct Tails {
    limits: ObserveLimits,
    all: Mutex<Vec<Arc<TailQueue>>>,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
}

/// The events that wait for the reader of one tail.
pub(crate) struct TailQueue {
    subjects: Vec<Subject>,
    /// The time between two events at the tail's highest rate.
    pace: Duration,
    waiting: Mutex<Backlog>,
    arrived: Notify,
}

struct Backlog {
    events: VecDeque<TailedEvent>,
    bytes: usize,
    /// The number of events that were lost since the last queued one.
    lost: u64,
    /// The time from which the next event may be taken.
    next_at: Instant,
}

impl Tails {
    pub(super) fn new(limits: ObserveLimits) -> Self {
        Self {
            limits,
            all: Mutex::default(),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Opens a tail; returns `None` if there are too many.
    pub(super) fn open(&self, subjects: Vec<Subject>) -> Option<Arc<TailQueue>> {
        let mut all = locked(&self.all);
        if all.len() >= self.limits.max_tails {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        let queue = Arc::new(TailQueue {
            subjects,
            pace: Duration::from_secs(1) / self.limits.max_tail_events_per_second.max(1),
            waiting: Mutex::new(Backlog {
                events: VecDeque::new(),
                bytes: 0,
                lost: 0,
                next_at: Instant::now(),
            }),
            arrived: Notify::new(),
        });
        all.push(queue.clone());
        Some(queue)
    }

    pub(super) fn close(&self, queue: &Arc<TailQueue>) {
        locked(&self.all).retain(|own| !Arc::ptr_eq(own, queue));
    }

    pub(super) fn len(&self) -> usize {
        locked(&self.all).len()
    }

    /// Queues `event` for each tail that watches it.
    pub(super) fn offer(&self, event: &Event) {
        for tail in locked(&self.all).iter() {
            if tail.subjects.iter().any(|subject| subject.covers(event)) && !tail.put(event, &self.limits) {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

impl TailQueue {
    /// Queues `event`; returns whether there was room.
    fn put(&self, event: &Event, limits: &ObserveLimits) -> bool {
        let mut waiting = locked(&self.waiting);
        let bytes = size(event);
        let is_full = waiting.events.len() >= limits.tail_queue
            || (waiting.bytes + bytes > limits.tail_queue_size && !waiting.events.is_empty());
        if is_full {
            waiting.lost += 1;
            return false;
        }
        let lost = std::mem::take(&mut waiting.lost);
        waiting.bytes += bytes;
        waiting.events.push_back(TailedEvent {
            event: event.clone(),
            lost,
        });
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Returns the next event, once there is one and the tail's rate allows it.
    pub(crate) async fn next(&self) -> TailedEvent {
        loop {
            match self.take() {
                Ok(event) => return event,
                Err(Some(then)) => tokio::time::sleep_until(then).await,
                Err(None) => self.arrived.notified().await,
            }
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// The time of the next attempt; `None` if the queue is empty.
    fn take(&self) -> Result<TailedEvent, Option<Instant>> {
        let mut waiting = locked(&self.waiting);
        let now = Instant::now();
        if waiting.next_at > now {
            return Err(Some(waiting.next_at));
        }
        let next = waiting.events.pop_front().ok_or(None)?;
        waiting.bytes -= size(&next.event);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        waiting.next_at = waiting.next_at.max(earliest) + self.pace;
        Ok(next)
    }
}

fn size(event: &Event) -> usize {
    let metadata = event
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata.bytes().len());
    event.data.bytes().len() + metadata
}
