//! The queue of plain publications that wait for their recorded copies, in the order of arrival. It does no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeFrom,
    time::Instant,
};

use ahash::RandomState;
use fanfare_core::{Event, RawJson};

/// A plain publication.
pub(super) struct PlainPublication<T> {
    pub(super) event: Event,
    /// The time at which its connection was opened.
    pub(super) since: Instant,
    pub(super) state: T,
    hash: u64,
}

/// See the module's documentation. Publications are numbered in their order.
pub(super) struct PlainQueue<T> {
    waiting: BTreeMap<u64, PlainPublication<T>>,
    /// The numbers, by hashes of the parts that a copy shares with its original.
    by_hash: BTreeSet<(u64, u64)>,
    next: u64,
    hasher: RandomState,
}

impl<T> Default for PlainQueue<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            by_hash: BTreeSet::new(),
            next: 0,
            hasher: RandomState::new(),
        }
    }
}

impl<T> PlainQueue<T> {
    pub(super) fn push(&mut self, event: Event, since: Instant, state: T) {
        let (number, hash) = (self.next, self.hash(&event));
        self.next += 1;
        self.by_hash.insert((hash, number));
        let plain = PlainPublication {
            event,
            since,
            state,
            hash,
        };
        self.waiting.insert(number, plain);
    }

    /// Takes the first original of `copy`. If several are equal, the choice does not matter.
    pub(super) fn take(&mut self, copy: &Event) -> Option<PlainPublication<T>> {
        let hash = self.hash(copy);
        let alike = self.by_hash.range((hash, 0)..=(hash, u64::MAX));
        let is_its_copy = |number: &u64| {
            let plain = self.waiting.get(number);
            plain.is_some_and(|plain| is_copy(copy, &plain.event))
        };
        let number = alike.map(|(_, number)| *number).find(is_its_copy)?;
        self.remove(number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<PlainPublication<T>> {
        let plain = self.waiting.remove(&number)?;
        self.by_hash.remove(&(plain.hash, number));
        Some(plain)
    }

    /// Takes the publications for whose state `is_over` returns `true`, in order.
    pub(super) fn take_all(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<PlainPublication<T>> {
        let over = self.waiting.iter().filter(|(_, plain)| is_over(&plain.state));
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        over.into_iter()
            .filter_map(|number| self.remove(number))
            .collect()
    }

    /// Returns the publications from a number on, in order, with their numbers.
    pub(super) fn range(&self, from: RangeFrom<u64>) -> impl Iterator<Item = (u64, &PlainPublication<T>)> {
        self.waiting.range(from).map(|(number, plain)| (*number, plain))
    }

    pub(super) fn get(&self, number: u64) -> Option<&PlainPublication<T>> {
        self.waiting.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut PlainPublication<T>> {
        self.waiting.get_mut(&number)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PlainPublication<T>> {
        self.waiting.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PlainPublication<T>> {
        self.waiting.values()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn hash(&self, event: &Event) -> u64 {
        self.hasher.hash_one((&event.audience, event.data.bytes()))
    }
}

/// Returns whether `copy` is a recorded copy of `plain`. Their ids are equal only if the publisher chose the id.
fn is_copy(copy: &Event, plain: &Event) -> bool {
    let bytes = |json: &Option<RawJson>| json.as_ref().map(|json| json.bytes().clone());
    let sender = |event: &Event| event.sender.as_ref().map(|sender| sender.id.clone());
    copy.audience == plain.audience
        && copy.data.bytes() == plain.data.bytes()
        && copy.kind == plain.kind
        && bytes(&copy.metadata) == bytes(&plain.metadata)
        && sender(copy) == sender(plain)
        && (!plain.named || copy.id == plain.id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::SystemTime;

    use bytes::Bytes;
    use fanfare_core::{Audience, Channel};
    use uuid::Uuid;

    use super::*;

    fn event(channel: &str, data: &'static str) -> Event {
        let audience = Audience::Channel(Channel::new(channel).unwrap());
        let data = RawJson::parse(&Bytes::from_static(data.as_bytes())).unwrap();
        Event::new(audience, Some("a"), data, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_copy_takes_one_equal_publication() {
        let mut queue = PlainQueue::default();
        let now = Instant::now();
        let named = Event {
            named: true,
            id: Uuid::from_u128(7),
            ..event("x", "2")
        };
        for (number, event) in [event("x", "1"), event("y", "1"), event("x", "1"), named.clone()]
            .into_iter()
            .enumerate()
        {
            queue.push(event, now, number);
        }
        let mut take = |event: &Event| queue.take(event).map(|plain| plain.state);
        assert_eq!(take(&event("x", "1")), Some(0));
        assert_eq!(take(&event("x", "1")), Some(2));
        assert_eq!(take(&event("x", "1")), None);
        let other_kind = Event {
            kind: None,
            ..event("y", "1")
        };
        assert_eq!(take(&other_kind), None);
        assert_eq!(take(&event("x", "2")), None, "it has another id");
        assert_eq!(take(&named), Some(3));
        let over = queue.take_all(|number| *number < 2);
        assert_eq!(over.len(), 1);
        assert_eq!((queue.len(), queue.by_hash.len()), (0, 0));
    }
}
