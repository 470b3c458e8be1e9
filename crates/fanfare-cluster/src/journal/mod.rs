//! The journal in a process: the kept events of every audience, under one byte budget.
//!
//! Each audience has a ring of its newest events. When all of them together have more bytes than the budget, the oldest event of
//! all goes first. An audience that has no events any more is still known by its last number, as long as there is room: so a client
//! that missed nothing is recovered, however long it was away. Above half of the budget, the audience that was silent for longest is
//! forgotten, and its last number is remembered for all that are forgotten together.

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

/// The default of the byte budget.
pub const DEFAULT_MAX_BYTES: usize = 64 << 20;
/// Between two looks for events that are too old, of all audiences.
const SWEEP_MS: u64 = 10_000;

/// Milliseconds of a clock that never jumps.
pub type Elapsed = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The journal of one process. Its epoch is its own: a restart begins another.
pub struct MemoryJournal {
    epoch: Epoch,
    max_bytes: usize,
    elapsed: Elapsed,
    state: Mutex<JournalState>,
}

/// What is kept.
#[derive(Default)]
struct JournalState {
    /// The number of the last event.
    last: u64,
    by_audience: AHashMap<Audience, usize>,
    rings: Slab<Ring>,
    /// The rings by their last numbers.
    by_top: BTreeMap<u64, usize>,
    /// The rings with events, by the numbers of their oldest ones.
    by_oldest: BTreeMap<u64, usize>,
    /// No audience that is forgotten has a higher number.
    forgotten: u64,
    event_bytes: usize,
    ring_bytes: usize,
    entries: u64,
    evicted: u64,
    swept_at: u64,
}

impl MemoryJournal {
    /// A journal of at most `max_bytes`, by the machine's clock.
    pub fn new(max_bytes: usize) -> Self {
        let started = Instant::now();
        let elapsed = move || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self::with_clock(max_bytes, Arc::new(elapsed))
    }

    /// The same, by another clock.
    pub fn with_clock(max_bytes: usize, elapsed: Elapsed) -> Self {
        Self {
            epoch: Epoch(rand::random()),
            max_bytes,
            elapsed,
            state: Mutex::default(),
        }
    }

    /// Numbers and keeps those of `events` that are to be kept, and has `deliver` deliver all of them before the next are numbered.
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

    /// Reads what is kept.
    pub fn read(&self, query: &ReplayQuery) -> Replay {
        let now = (self.elapsed)();
        read::read(&locked(&self.state), self.epoch, query, now)
    }

    /// The last numbers of `audiences`, and the channels with one above `behind`.
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

    /// What it holds.
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
    /// Gives `event` its number and keeps a copy of it.
    fn keep(&mut self, event: &Event, retention: Retention, epoch: Epoch, now: u64) -> Position {
        self.last += 1;
        let number = self.last;
        let place = self.ring_of(&event.audience, retention);
        let Some(ring) = self.rings.get_mut(place) else {
            return Position {
                epoch,
                number,
                prev: number - 1,
            }; // a ring that was just found is there
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
        let oldest = ring.oldest();
        self.event_bytes += kept.bytes;
        self.entries += 1;
        ring.events.push_back(kept);
        while ring.events.len() > retention.size as usize || ring.begins_too_old(now) {
            let Some(dropped) = ring.events.pop_front() else {
                break;
            };
            self.event_bytes -= dropped.bytes;
            self.entries -= 1;
        }
        note_oldest(&mut self.by_oldest, oldest, ring.oldest(), place);
        position
    }

    /// The ring of an audience, which is made if there is none.
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

    /// Drops the oldest events until no more than `max_bytes` are left. If the audiences themselves take more than half of that, those
    /// that were silent for longest are forgotten instead.
    fn evict(&mut self, max_bytes: usize) {
        while self.event_bytes + self.ring_bytes > max_bytes {
            if self.ring_bytes > max_bytes / 2 {
                self.forget_oldest();
            } else if let Some((_, place)) = self.by_oldest.pop_first() {
                let Some(ring) = self.rings.get_mut(place) else {
                    continue;
                };
                if let Some(dropped) = ring.events.pop_front() {
                    self.event_bytes -= dropped.bytes;
                    self.entries -= 1;
                    self.evicted += 1;
                }
                note_oldest(&mut self.by_oldest, None, ring.oldest(), place);
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
        let ring = self.rings.remove(place);
        self.by_audience.remove(&ring.audience);
        self.ring_bytes -= ring.own_bytes();
        note_oldest(&mut self.by_oldest, ring.oldest(), None, place);
        for dropped in &ring.events {
            self.event_bytes -= dropped.bytes;
            self.entries -= 1;
            self.evicted += 1;
        }
        self.forgotten = top;
    }

    /// Drops the events that are too old, now and then.
    fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept_at) < SWEEP_MS {
            return;
        }
        self.swept_at = now;
        for (place, ring) in &mut self.rings {
            let oldest = ring.oldest();
            while ring.begins_too_old(now) {
                let Some(dropped) = ring.events.pop_front() else {
                    break;
                };
                self.event_bytes -= dropped.bytes;
                self.entries -= 1;
            }
            note_oldest(&mut self.by_oldest, oldest, ring.oldest(), place);
            ring.give_back();
        }
    }
}

/// Notes that the oldest event of a ring is another one.
fn note_oldest(by_oldest: &mut BTreeMap<u64, usize>, was: Option<u64>, is: Option<u64>, place: usize) {
    if was != is {
        was.map(|number| by_oldest.remove(&number));
        is.map(|number| by_oldest.insert(number, place));
    }
}
