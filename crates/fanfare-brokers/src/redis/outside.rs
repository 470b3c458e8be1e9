//! What others than Fanfare's nodes publish on Redis, on its way to the delivery queue.
//!
//! An event on `fanfare:events` whose id its publisher chose counts once in the cluster, and Redis must be asked whether
//! it has come before. Meanwhile what others publish waits behind it, on whichever channel, so that each of them keeps
//! his order; what nodes publish does not. Where nothing waits and no id is named, an event goes straight to the queue.
//!
//! While Redis does not answer, the ids are judged by this node's own memory: then nothing waits longer than Redis may
//! take to answer, and no longer at all once the connection is given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use fanfare_core::Event;
use tokio::sync::mpsc;

use super::{
    Shared,
    delivery::{Answer, Deliveries, Item},
    ids::{self, Heard},
};

/// Ids that are asked for at once, unless one publication alone has more.
const BATCH: usize = 512;

/// Where what others publish comes in.
pub(super) struct Outside {
    waiting: mpsc::UnboundedSender<Publication>,
    /// How many publications wait. Only the task that reads adds to them, so what it finds is never too small.
    count: AtomicUsize,
    deliveries: Deliveries,
}

/// One message that others have published.
pub(super) struct Publication {
    events: Vec<Event>,
    /// What came before this was not heard on the connection that brought it.
    listening_since: Instant,
}

/// The publications that wait.
pub(super) type Waiting = mpsc::UnboundedReceiver<Publication>;

impl Outside {
    pub(super) fn new(deliveries: Deliveries) -> (Self, Waiting) {
        let (waiting, publications) = mpsc::unbounded_channel();
        let this = Self {
            waiting,
            count: AtomicUsize::new(0),
            deliveries,
        };
        (this, publications)
    }

    /// An event on a user's channel, a channel's, or everyone's.
    pub(super) fn one(&self, event: Event, listening_since: Instant) {
        // No id was named there.
        if self.is_empty() {
            self.deliveries.push(Item::Event(event, Answer::Nobody));
        } else {
            self.wait(vec![event], listening_since);
        }
    }

    /// The events of a body of the service API.
    pub(super) fn many(&self, events: Vec<Event>, listening_since: Instant) {
        if self.is_empty() && !events.iter().any(|event| event.named) {
            self.deliver(events);
        } else {
            self.wait(events, listening_since);
        }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn deliver(&self, events: Vec<Event>) {
        for event in events {
            self.deliveries.push(Item::Event(event, Answer::Nobody));
        }
    }

    fn wait(&self, events: Vec<Event>, listening_since: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.deliveries.expect(&events);
        // Fails only while the runtime shuts down.
        let _ = self.waiting.send(Publication {
            events,
            listening_since,
        });
    }
}

/// Takes what waits to the delivery queue, in order and without what has come before.
pub(super) async fn run(shared: Arc<Shared>, mut waiting: Waiting) {
    while let Some(publication) = waiting.recv().await {
        let mut heard: Vec<Heard> = publication.heard().collect();
        let mut batch = vec![publication];
        while heard.len() < BATCH
            && let Ok(publication) = waiting.try_recv()
        {
            heard.extend(publication.heard());
            batch.push(publication);
        }
        let mut are_new = ids::hear(&shared, &heard).await.into_iter();
        let count = batch.len();
        for mut publication in batch {
            shared.deliveries.unexpect(&publication.events);
            publication
                .events
                .retain(|event| !event.named || are_new.next() == Some(true));
            shared.outside.deliver(publication.events);
        }
        // Whoever finds nothing waiting also finds all of it in the delivery queue.
        shared.outside.count.fetch_sub(count, Ordering::Release);
    }
}

impl Publication {
    /// The ids that were named in it.
    fn heard(&self) -> impl Iterator<Item = Heard> {
        let named = self.events.iter().filter(|event| event.named);
        named.map(|event| Heard {
            id: event.id,
            listening_since: self.listening_since,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::SystemTime;

    use bytes::Bytes;
    use fanfare_core::{Audience, RawJson};

    use super::{super::delivery::Queue, *};

    fn event(data: &Bytes, named: bool) -> Event {
        let data = RawJson::parse(data).unwrap();
        Event {
            named,
            ..Event::new(Audience::Everyone, None, data, SystemTime::UNIX_EPOCH)
        }
    }

    fn number(number: u32, named: bool) -> Event {
        event(&Bytes::from(number.to_string()), named)
    }

    fn count(queue: &mut Queue) -> usize {
        std::iter::from_fn(|| queue.next()).count()
    }

    #[test]
    fn nothing_waits_but_behind_an_id_that_was_named() {
        let (deliveries, mut queue) = Deliveries::new();
        let (outside, mut waiting) = Outside::new(deliveries);
        let now = Instant::now();
        outside.one(number(0, false), now);
        outside.many(vec![number(1, false), number(2, false)], now);
        assert_eq!(count(&mut queue), 3);
        assert!(waiting.try_recv().is_err());

        outside.many(vec![number(3, false), number(4, true)], now);
        outside.one(number(5, false), now);
        outside.many(vec![number(6, false)], now);
        assert_eq!(count(&mut queue), 0);
        let waited = std::iter::from_fn(|| waiting.try_recv().ok());
        assert_eq!(
            waited.map(|waited| waited.events.len()).collect::<Vec<_>>(),
            [2, 1, 1]
        );
    }

    #[test]
    fn what_waits_counts_as_backlog() {
        let (deliveries, _queue) = Deliveries::new();
        let (outside, mut waiting) = Outside::new(deliveries.clone());
        let large = Bytes::from(format!("\"{}\"", "x".repeat(1 << 20)));
        for _ in 0..64 {
            assert!(!deliveries.is_full());
            outside.many(vec![event(&large, true)], Instant::now());
        }
        assert!(deliveries.is_full());
        while let Ok(waited) = waiting.try_recv() {
            deliveries.unexpect(&waited.events);
        }
        assert!(!deliveries.is_full());
    }
}
