//! Events that no node published, on their way to the delivery queue.
//!
//! An event on [`Subject::Events`](crate::transport::Subject) whose id its publisher chose counts once in the cluster, and
//! the store of ids must be asked whether it was published before. Meanwhile what other programs publish waits behind it, on
//! whichever subject, so that each of them keeps its order; what nodes publish does not wait. If nothing waits and no id is
//! named, an event goes straight to the queue.
//!
//! While the store does not answer, this node's own memory judges the ids: then nothing waits longer than the store may
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

use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    ids::Ids,
    transport::WantedId,
};

/// Ids that are claimed at once, unless one publication alone has more.
const BATCH: usize = 512;

/// Takes in the events that no node published.
pub(crate) struct Foreign {
    waiting: mpsc::UnboundedSender<ForeignPublication>,
    /// How many publications wait. Only the task that receives adds to them, so what it finds is never too small.
    count: AtomicUsize,
    deliveries: Deliveries,
}

/// One message.
pub(crate) struct ForeignPublication {
    events: Vec<Event>,
    /// What was published before this did not arrive on the same connection.
    receiving_since: Instant,
}

/// The publications that wait.
pub(crate) type WaitingPublications = mpsc::UnboundedReceiver<ForeignPublication>;

impl Foreign {
    pub(crate) fn new(deliveries: Deliveries) -> (Self, WaitingPublications) {
        let (waiting, publications) = mpsc::unbounded_channel();
        let this = Self {
            waiting,
            count: AtomicUsize::new(0),
            deliveries,
        };
        (this, publications)
    }

    /// An event on a user's channel, a channel's, or everyone's.
    pub(crate) fn one(&self, event: Event, receiving_since: Instant) {
        // No id was named there.
        if self.is_empty() {
            self.deliveries.push(Item::Event(event, ReplyTo::Dropped));
        } else {
            self.wait(vec![event], receiving_since);
        }
    }

    /// The events of a body of the service API.
    pub(crate) fn many(&self, events: Vec<Event>, receiving_since: Instant) {
        if self.is_empty() && !events.iter().any(|event| event.named) {
            self.deliver(events);
        } else {
            self.wait(events, receiving_since);
        }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn deliver(&self, events: Vec<Event>) {
        for event in events {
            self.deliveries.push(Item::Event(event, ReplyTo::Dropped));
        }
    }

    fn wait(&self, events: Vec<Event>, receiving_since: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.deliveries.expect(&events);
        // Fails only while the runtime shuts down.
        let _ = self.waiting.send(ForeignPublication {
            events,
            receiving_since,
        });
    }
}

/// Moves what waits to the delivery queue, in order and without repeats.
pub(crate) async fn run(foreign: Arc<Foreign>, ids: Arc<Ids>, mut waiting: WaitingPublications) {
    while let Some(publication) = waiting.recv().await {
        let mut named: Vec<WantedId> = publication.ids().collect();
        let mut batch = vec![publication];
        while named.len() < BATCH
            && let Ok(publication) = waiting.try_recv()
        {
            named.extend(publication.ids());
            batch.push(publication);
        }
        let mut are_new = ids.claim_together(&named).await.into_iter();
        let count = batch.len();
        for mut publication in batch {
            foreign.deliveries.unexpect(&publication.events);
            publication
                .events
                .retain(|event| !event.named || are_new.next() == Some(true));
            foreign.deliver(publication.events);
        }
        // Only after the delivery queue has them: an event that finds nothing waiting may go straight there.
        foreign.count.fetch_sub(count, Ordering::Release);
    }
}

impl ForeignPublication {
    /// The ids that were named in it.
    fn ids(&self) -> impl Iterator<Item = WantedId> {
        let named = self.events.iter().filter(|event| event.named);
        named.map(|event| WantedId {
            id: event.id,
            receiving_since: Some(self.receiving_since),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::SystemTime;

    use bytes::Bytes;
    use fanfare_core::{Audience, RawJson};

    use super::*;
    use crate::deliveries::Queue;

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
        let (foreign, mut waiting) = Foreign::new(deliveries);
        let now = Instant::now();
        foreign.one(number(0, false), now);
        foreign.many(vec![number(1, false), number(2, false)], now);
        assert_eq!(count(&mut queue), 3);
        assert!(waiting.try_recv().is_err());

        foreign.many(vec![number(3, false), number(4, true)], now);
        foreign.one(number(5, false), now);
        foreign.many(vec![number(6, false)], now);
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
        let (foreign, mut waiting) = Foreign::new(deliveries.clone());
        let large = Bytes::from(format!("\"{}\"", "x".repeat(1 << 20)));
        for _ in 0..64 {
            assert!(!deliveries.is_full());
            foreign.many(vec![event(&large, true)], Instant::now());
        }
        assert!(deliveries.is_full());
        while let Ok(waited) = waiting.try_recv() {
            deliveries.unexpect(&waited.events);
        }
        assert!(!deliveries.is_full());
    }
}
