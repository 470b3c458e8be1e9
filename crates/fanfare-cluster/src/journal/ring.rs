//! The newest events of one audience.

use std::{collections::VecDeque, sync::Arc};

use fanfare_core::{
    Audience, Event, RawJson,
    history::{History, Position, Retention},
};

/// The size of an event without its data, metadata and type, in bytes.
const EVENT_BYTES: usize = size_of::<Event>() + size_of::<Kept>() + 64;
/// The size of a ring without its name and events, in bytes.
const RING_BYTES: usize = 2 * size_of::<Ring>() + 64;

/// See the module's documentation.
pub(super) struct Ring {
    pub(super) audience: Audience,
    pub(super) retention: Retention,
    /// The number of its last event, kept or not.
    pub(super) top: u64,
    /// The oldest first.
    pub(super) events: VecDeque<Kept>,
}

/// A kept event.
pub(super) struct Kept {
    pub(super) position: Position,
    /// The time of publication, by the journal's clock.
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

    /// Returns the number of the oldest event.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.events.front().map(|kept| kept.position.number)
    }

    pub(super) fn is_oldest_expired(&self, now: u64) -> bool {
        self.events.front().is_some_and(|kept| self.is_expired(kept, now))
    }

    fn is_expired(&self, kept: &Kept, now: u64) -> bool {
        u128::from(now.saturating_sub(kept.at)) > self.retention.ttl.as_millis()
    }

    /// Returns the unexpired events with a number above `number`, the oldest first.
    pub(super) fn after(&self, number: u64, now: u64) -> impl DoubleEndedIterator<Item = &Kept> {
        let is_before = |kept: &Kept| kept.position.number <= number || self.is_expired(kept, now);
        let before = self.events.partition_point(is_before);
        self.events.range(before..)
    }

    /// Returns the size without events, in bytes.
    pub(super) fn own_bytes(&self) -> usize {
        let name = match &self.audience {
            Audience::Everyone => 0,
            Audience::User(user) => user.len(),
            Audience::Channel(channel) => channel.len(),
        };
        name + RING_BYTES
    }

    /// Releases the memory of many former events.
    pub(super) fn shrink(&mut self) {
        if self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to_fit();
        }
    }
}
