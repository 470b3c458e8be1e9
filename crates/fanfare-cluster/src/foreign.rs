//! Passes events that other programs published to the delivery queue, without duplicates.
//!
//! An event on [`Subject::Events`](crate::transport::Subject) may have an id that its publisher chose. The cluster delivers such an id
//! once, so the node first asks the store of ids. Meanwhile all later events of other programs wait, on all subjects, which preserves the
//! order of each publisher. Events of nodes do not wait. If no event waits and the event has no such id, it goes to the queue at once.
//!
//! While the store does not answer, the node decides by its own memory of ids. So an event waits at most as long as the store may take to
//! answer, and not at all once the connection is lost.

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

/// The number of ids to claim in one batch, unless a single publication has more.
const BATCH: usize = 512;

/// Receives the events that other programs published.
pub(crate) struct Foreign {
    waiting: mpsc::UnboundedSender<ForeignPublication>,
    /// The number of waiting publications. Only the receiving task adds to it, so that task never reads too small a number.
    count: AtomicUsize,
    deliveries: Deliveries,
}

/// The events of one message.
pub(crate) struct ForeignPublication {
    events: Vec<Event>,
    /// When the connection that it arrived on was opened.
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

    /// Receives an event on the subject of an audience, which has no chosen id.
    pub(crate) fn one(&self, event: Event, receiving_since: Instant) {
        if self.is_empty() {
            self.deliveries.push(Item::Event(event, ReplyTo::Dropped));
        } else {
            self.wait(vec![event], receiving_since);
        }
    }

    /// Receives the events of a body of the service API.
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
        self.deliveries.reserve(&events);
        // Fails only while the runtime shuts down.
        let _ = self.waiting.send(ForeignPublication {
            events,
            receiving_since,
        });
    }
}

/// Moves the waiting events to the delivery queue, in order and without duplicates.
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
            foreign.deliveries.unreserve(&publication.events);
            publication
                .events
                .retain(|event| !event.named || are_new.next() == Some(true));
            foreign.deliver(publication.events);
        }
        // After the delivery queue has them, because an event bypasses this task if none waits.
        foreign.count.fetch_sub(count, Ordering::Release);
    }
}

impl ForeignPublication {
    /// Returns the ids that the publisher chose.
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
    fn events_wait_only_behind_an_event_with_a_chosen_id() {
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
    fn waiting_events_count_as_backlog() {
        let (deliveries, _queue) = Deliveries::new();
        let (foreign, mut waiting) = Foreign::new(deliveries.clone());
        let large = Bytes::from(format!("\"{}\"", "x".repeat(1 << 20)));
        for _ in 0..64 {
            assert!(!deliveries.is_full());
            foreign.many(vec![event(&large, true)], Instant::now());
        }
        assert!(deliveries.is_full());
        while let Ok(waited) = waiting.try_recv() {
            deliveries.unreserve(&waited.events);
        }
        assert!(!deliveries.is_full());
    }
}
