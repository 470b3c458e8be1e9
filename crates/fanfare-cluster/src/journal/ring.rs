//! The newest events of one audience.

use std::{collections::VecDeque, sync::Arc};

use fanfare_core::{
    Audience, Event, RawJson,
    history::{History, Position, Retention},
};

/// What an event takes besides its data and metadata.
const EVENT_BYTES: usize = size_of::<Event>() + size_of::<Kept>() + 64;
/// What an audience takes besides its name and events.
const RING_BYTES: usize = 2 * size_of::<Ring>() + 64;

/// One audience's events.
pub(super) struct Ring {
    pub(super) audience: Audience,
    pub(super) retention: Retention,
    /// The number of its last event, kept or not.
    pub(super) top: u64,
    /// The oldest first.
    pub(super) events: VecDeque<Kept>,
}

/// An event that is kept.
pub(super) struct Kept {
    pub(super) position: Position,
    /// When it was published, by the clock that never jumps.
    pub(super) at: u64,
    pub(super) bytes: usize,
    pub(super) event: Arc<Event>,
}

impl Kept {
    pub(super) fn new(event: &Event, position: Position, at: u64) -> Self {
        let event = Event {
            data: event.data.copied(),
            metadata: event.metadata.as_ref().map(RawJson::copied),
            history: History::Kept(position),
            ..event.clone()
        };
        let metadata = event
            .metadata
            .as_ref()
            .map_or(0, |metadata| metadata.bytes().len());
        let kind = event.kind.as_ref().map_or(0, |kind| kind.len());
        Self {
            position,
            at,
            bytes: event.data.bytes().len() + metadata + kind + EVENT_BYTES,
            event: Arc::new(event),
        }
    }
}

impl Ring {
    pub(super) fn new(audience: Audience, retention: Retention, top: u64) -> Self {
        Self {
            audience,
            retention,
            top,
            events: VecDeque::new(),
        }
    }

    /// The number of the oldest event.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.events.front().map(|kept| kept.position.number)
    }

    /// Whether the oldest event is too old.
    pub(super) fn begins_too_old(&self, now: u64) -> bool {
        self.events.front().is_some_and(|kept| self.is_too_old(kept, now))
    }

    fn is_too_old(&self, kept: &Kept, now: u64) -> bool {
        u128::from(now.saturating_sub(kept.at)) > self.retention.ttl.as_millis()
    }

    /// The events that count, the oldest first.
    pub(super) fn current(&self, now: u64) -> impl DoubleEndedIterator<Item = &Kept> {
        let old = self.events.partition_point(|kept| self.is_too_old(kept, now));
        self.events.range(old..)
    }

    /// The events behind `number` that count, the oldest first.
    pub(super) fn behind(&self, number: u64, now: u64) -> impl DoubleEndedIterator<Item = &Kept> {
        let first = |kept: &Kept| kept.position.number <= number || self.is_too_old(kept, now);
        let old = self.events.partition_point(first);
        self.events.range(old..)
    }

    /// What it takes without its events.
    pub(super) fn own_bytes(&self) -> usize {
        let name = match &self.audience {
            Audience::Everyone => 0,
            Audience::User(user) => user.len(),
            Audience::Channel(channel) => channel.len(),
        };
        name + RING_BYTES
    }

    /// Gives memory back that many events needed once.
    pub(super) fn give_back(&mut self) {
        if self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to_fit();
        }
    }
}
