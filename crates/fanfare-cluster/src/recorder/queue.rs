//! Plain publications that wait for their recorded copies, in the order in which they arrived. Nothing here does I/O.

use std::{collections::VecDeque, time::Instant};

use fanfare_core::{Event, RawJson};

/// A plain publication.
pub(super) struct Plain<T> {
    pub(super) event: Event,
    /// When its connection was opened.
    pub(super) since: Instant,
    pub(super) state: T,
}

/// See the module's documentation.
pub(super) struct PlainQueue<T>(pub(super) VecDeque<Plain<T>>);

impl<T> PlainQueue<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn push(&mut self, event: Event, since: Instant, state: T) {
        self.0.push_back(Plain { event, since, state });
    }

    /// Takes the first one that `copy` is the recorded copy of. Of several that look alike, any is the right one.
    pub(super) fn take(&mut self, copy: &Event) -> Option<Plain<T>> {
        // Copies arrive in the order of the publications, so it is one of the first.
        let at = self.0.iter().position(|plain| is_copy(copy, &plain.event))?;
        self.0.remove(at)
    }

    /// Takes those that `is_over`, in order.
    pub(super) fn take_all(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<Plain<T>> {
        let mut over = Vec::new();
        if self.0.iter().any(|plain| is_over(&plain.state)) {
            for plain in std::mem::take(&mut self.0) {
                if is_over(&plain.state) {
                    over.push(plain);
                } else {
                    self.0.push_back(plain);
                }
            }
        }
        over
    }
}

/// Whether `copy` is what the recorder makes of `plain`. Only an id that the publisher chose is the same on all nodes.
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
    fn a_copy_takes_one_publication_that_looks_like_it() {
        let mut queue = PlainQueue::new();
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
        assert!(queue.0.is_empty());
    }
}
