//! The journal in one process: the kept events of all audiences, within one budget of bytes.
//!
//! Each audience has a ring of its newest events. If all rings together exceed the budget, the oldest event of all is evicted. The
//! last number of an audience is kept longer than its events, so a client that missed nothing is recovered, however long it was
//! disconnected. If the rings without their events take more than half of the budget, the audience that was silent for longest is
//! forgotten. One number remains of all forgotten audiences: the highest of their last ones.

mod read;
mod ring;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use ahash::AHashMap;
use fanfare_core::{
    Audience, Event,
    history::{Epoch, History, Position, Retention},
    journal::{JournalFigures, Replay, ReplayQuery},
    locked,
};
use slab::Slab;

#[cfg(any(test, feature = "testing"))]
use crate::transport::journal::Tops;
#[cfg(any(test, feature = "testing"))]
use fanfare_core::history::Cursor;
use ring::{Kept, Ring};

/// The default budget, in bytes.
pub const DEFAULT_MAX_BYTES: usize = 64 << 20;
/// The interval at which expired events of all audiences are removed.
const SWEEP_MS: u64 = 10_000;

/// A monotonic clock, in milliseconds.
pub type Elapsed = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The journal of one process. A restart begins a new epoch.
pub struct MemoryJournal {
    epoch: Epoch,
    max_bytes: usize,
    elapsed: Elapsed,
    state: Mutex<JournalState>,
}

/// The rings, and their order.
#[derive(Default)]
struct JournalState {
    /// The number of the last event.
    last: u64,
    by_audience: AHashMap<Audience, usize>,
    rings: Slab<Ring>,
    /// The rings by their last numbers.
    by_top: BTreeMap<u64, usize>,
    /// The rings with events, by the numbers of their oldest events.
    by_oldest: BTreeMap<u64, usize>,
    /// The highest last number of the forgotten audiences.
    forgotten: u64,
    event_bytes: usize,
    ring_bytes: usize,
    entries: u64,
    evicted: u64,
    swept_at: u64,
}

impl MemoryJournal {
    /// Returns a journal of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let started = Instant::now();
        let elapsed = move || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self::with_clock(max_bytes, Arc::new(elapsed))
    }

    /// Like [`new`](Self::new), with the clock of a test.
    pub fn with_clock(max_bytes: usize, elapsed: Elapsed) -> Self {
        Self {
            epoch: Epoch(rand::random()),
            max_bytes,
            elapsed,
            state: Mutex::default(),
        }
    }

    /// Numbers and keeps the `events` that request it, and calls `deliver` with all of them before the next are numbered.
    pub fn append<T>(&self, mut events: Vec<Event>, deliver: impl FnOnce(Vec<Event>) -> T) -> T {
        let now = (self.elapsed)();
        let mut state = locked(&self.state);
        for event in &mut events {
            if let Some(retention) = event.history.wanted() {
                let position = state.keep(event, retention, self.epoch, now);
                event.history = History::Kept(position);
            }
        }
        state.sweep(now);
        state.evict(self.max_bytes);
        deliver(events)
    }

    /// Reads the kept events that `query` requests.
    pub fn read(&self, query: &ReplayQuery) -> Replay {
        let now = (self.elapsed)();
        read::read(&locked(&self.state), self.epoch, query, now)
    }

    /// Returns the last numbers of `audiences`, and the channels with a last number above `behind`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tops(&self, audiences: &[Audience], behind: Option<u64>) -> Tops {
        let state = locked(&self.state);
        let top = |audience: &Audience| {
            let place = state.by_audience.get(audience);
            place
                .and_then(|place| state.rings.get(*place))
                .map_or(0, |ring| ring.top)
        };
        let others = state
            .rings
            .iter()
            .map(|(_, ring)| (ring.audience.clone(), ring.top));
        let is_behind = |(audience, top): &(Audience, u64)| {
            behind.is_some_and(|behind| *top > behind) && matches!(audience, Audience::Channel(_))
        };
        Tops {
            floor: 0,
            present: Cursor {
                epoch: self.epoch,
                number: state.last,
            },
            tops: audiences.iter().map(top).collect(),
            others: others.filter(is_behind).collect(),
            forgotten: state.forgotten,
            journals: state.rings.len() as u64,
        }
    }

    /// Returns the journal's figures.
    pub fn figures(&self) -> JournalFigures {
        let mut state = locked(&self.state);
        state.sweep((self.elapsed)());
        JournalFigures {
            journals: state.rings.len() as u64,
            entries: state.entries,
            bytes: (state.event_bytes + state.ring_bytes) as u64,
            evicted: state.evicted,
            ..JournalFigures::default()
        }
    }
}

impl JournalState {
    /// Numbers `event` and keeps a copy of it.
    fn keep(&mut self, event: &Event, retention: Retention, epoch: Epoch, now: u64) -> Position {
        self.last += 1;
        let number = self.last;
        let place = self.ring_of(&event.audience, retention);
        let Some(ring) = self.rings.get_mut(place) else {
            return Position {
                epoch,
                number,
                prev: number - 1,
            }; // never: the ring was just found
        };
        let position = Position {
            epoch,
            number,
            prev: ring.top,
        };
        self.by_top.remove(&ring.top);
        self.by_top.insert(number, place);
        ring.top = number;
        ring.retention = retention;
        let kept = Kept::new(event, position, now);
        self.event_bytes += kept.bytes;
        self.entries += 1;
        if ring.events.is_empty() {
            self.by_oldest.insert(number, place);
        }
        ring.events.push_back(kept);
        self.drop_while(place, |ring| {
            ring.events.len() > retention.size as usize || ring.is_oldest_expired(now)
        });
        position
    }

    /// Drops the oldest events of a ring as long as `must_drop` returns `true`. Returns their number.
    fn drop_while(&mut self, place: usize, must_drop: impl Fn(&Ring) -> bool) -> u64 {
        let Some(ring) = self.rings.get_mut(place) else {
            return 0;
        };
        let (oldest, count) = (ring.oldest(), self.entries);
        while must_drop(ring)
            && let Some(dropped) = ring.events.pop_front()
        {
            self.event_bytes -= dropped.bytes;
            self.entries -= 1;
        }
        if oldest != ring.oldest() {
            oldest.map(|number| self.by_oldest.remove(&number));
            ring.oldest().map(|number| self.by_oldest.insert(number, place));
        }
        count - self.entries
    }

    /// Returns the ring of an audience, which is created if it does not exist.
    fn ring_of(&mut self, audience: &Audience, retention: Retention) -> usize {
        if let Some(place) = self.by_audience.get(audience) {
            return *place;
        }
        let ring = Ring::new(audience.clone(), retention, self.forgotten);
        self.ring_bytes += ring.own_bytes();
        let place = self.rings.insert(ring);
        self.by_audience.insert(audience.clone(), place);
        place
    }

    /// Evicts the oldest events until at most `max_bytes` are left. If the rings without their events take more than half of that,
    /// the audiences that were silent for longest are forgotten instead.
    fn evict(&mut self, max_bytes: usize) {
        while self.event_bytes + self.ring_bytes > max_bytes {
            if self.ring_bytes > max_bytes / 2 {
                self.forget_oldest();
            } else if let Some((number, place)) = self.by_oldest.pop_first() {
                self.evicted += self.drop_while(place, |ring| ring.oldest() == Some(number));
            } else {
                return; // nothing is left
            }
        }
    }

    /// Forgets the audience that was silent for longest.
    fn forget_oldest(&mut self) {
        let Some((top, place)) = self.by_top.pop_first() else {
            return;
        };
        self.evicted += self.drop_while(place, |_| true);
        let ring = self.rings.remove(place);
        self.by_audience.remove(&ring.audience);
        self.ring_bytes -= ring.own_bytes();
        self.forgotten = top;
    }

    /// Drops the expired events of all audiences, if the last sweep was long enough ago.
    fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept_at) < SWEEP_MS {
            return;
        }
        self.swept_at = now;
        let with_events: Vec<usize> = self.by_oldest.values().copied().collect();
        for place in with_events {
            self.drop_while(place, |ring| ring.is_oldest_expired(now));
        }
        for (_, ring) in &mut self.rings {
            ring.shrink();
        }
    }
}
