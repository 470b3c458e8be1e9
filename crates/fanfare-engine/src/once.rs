//! Publishes events whose publisher chose the id once in the whole cluster, however often they are sent. An id is remembered for
//! ten minutes (contract). A repeat gets the receipt of the first.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fanfare_core::{Broker, Claim, Event, PublishOptions, Receipt};
use tokio::time::Instant;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// How long a call waits for other publishers of the same ids, in total.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first and the longest pause between two claims of the same ids. It doubles each time, because a claim of many ids is much
/// work.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How a call treats an id that another publisher has claimed and not published yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Waits for the other publisher, two seconds at most. Then nothing is published.
    Wait,
    /// Publishes nothing.
    Refuse,
    /// Publishes all other events, and waits for the other publisher's receipt. After two seconds that is empty.
    Skip,
}

/// Another publisher has claimed an id and has not published its event, so nothing was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of this id is being published by another request")]
pub struct InProgress;

/// Publishes those of `events` that are new, in order, and returns a receipt for each.
pub(super) async fn publish_once(
    broker: &dyn Broker,
    events: Vec<Event>,
    options: PublishOptions,
    conflict: Conflict,
) -> Result<Vec<Receipt>, InProgress> {
    let patience = if conflict == Conflict::Refuse {
        Duration::ZERO
    } else {
        PATIENCE
    };
    let mut publication = Publication::begin(broker, events, options, patience).await;
    while conflict != Conflict::Skip
        && let Some(taken) = publication.first_taken()
    {
        // Two publishers that wait for each other's ids would deadlock: none holds an id while it waits for a lower one.
        publication.release(|id| id > taken).await;
        if !publication.look_again().await {
            publication.release(|_| true).await;
            return Err(InProgress);
        }
    }
    publication.publish().await;
    while publication.is_open() && publication.look_again().await {
        // Ids that another publisher released without publishing them.
        publication.publish().await;
    }
    Ok(publication.receipts())
}

/// The state of an id.
enum Known {
    /// It is this publication's, and not published yet.
    Ours,
    /// Another publisher has claimed it, and has not published it.
    Taken,
    /// It has been published; its receipt is not known.
    Published,
    /// It has been published, with this receipt.
    Receipt(Receipt),
}

impl Known {
    /// Returns whether the state may still change.
    fn is_open(&self) -> bool {
        matches!(self, Self::Taken | Self::Published)
    }
}

/// A publication in progress. Dropping it releases the ids that it has claimed and not published.
struct Publication<'a> {
    broker: &'a dyn Broker,
    options: PublishOptions,
    /// In the order of the ids.
    ids: BTreeMap<Uuid, Known>,
    /// The id of each event whose publisher chose it.
    named: Vec<Option<Uuid>>,
    /// The events that are not published, in their places.
    events: Vec<Option<Event>>,
    /// The receipts of events without such an id, in their places.
    receipts: Vec<Receipt>,
    until: Instant,
    pause: Duration,
}

impl<'a> Publication<'a> {
    /// Claims the ids of `events`.
    async fn begin(
        broker: &'a dyn Broker,
        events: Vec<Event>,
        options: PublishOptions,
        patience: Duration,
    ) -> Self {
        let named: Vec<Option<Uuid>> = events
            .iter()
            .map(|event| event.named.then_some(event.id))
            .collect();
        let mut publication = Self {
            broker,
            options,
            ids: named.iter().flatten().map(|id| (*id, Known::Taken)).collect(),
            receipts: vec![Receipt::default(); events.len()],
            events: events.into_iter().map(Some).collect(),
            named,
            until: Instant::now() + patience,
            pause: FIRST_PAUSE,
        };
        publication.look().await;
        publication
    }

    /// Returns the lowest id that another publisher has claimed and not published.
    fn first_taken(&self) -> Option<Uuid> {
        let mut ids = self.ids.iter();
        ids.find_map(|(id, known)| matches!(known, Known::Taken).then_some(*id))
    }

    /// Returns whether the state of an id may still change.
    fn is_open(&self) -> bool {
        self.ids.values().any(Known::is_open)
    }

    /// Claims all open ids again, after a pause. Returns whether there was time for it.
    async fn look_again(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        self.look().await;
        true
    }

    /// Claims all open ids, together.
    async fn look(&mut self) {
        let open = self.ids.iter().filter(|(_, known)| known.is_open());
        let open: Vec<Uuid> = open.map(|(id, _)| *id).collect();
        let claims = self.broker.claim(open.clone()).await;
        let mut forgotten = Vec::new();
        for (id, claim) in open.into_iter().zip(claims) {
            let Some(known) = self.ids.get_mut(&id) else {
                continue;
            };
            match claim {
                // It was known to be published, even if the broker has lost its memory since.
                Claim::New if matches!(known, Known::Published) => forgotten.push(id),
                Claim::New => *known = Known::Ours,
                Claim::Taken => {}
                Claim::Published(None) => *known = Known::Published,
                Claim::Published(Some(receipt)) => *known = Known::Receipt(receipt),
            }
        }
        if !forgotten.is_empty() {
            drop(self.broker.release(forgotten)); // begun at the call
        }
    }

    /// Publishes, in order, the events that are this publication's and those without an id.
    async fn publish(&mut self) {
        let mut taken = HashSet::new();
        let mut places = Vec::new();
        let mut new = Vec::new();
        for (place, (event, named)) in self.events.iter_mut().zip(&self.named).enumerate() {
            // Of duplicates in one request the first counts.
            let is_due =
                named.is_none_or(|id| matches!(self.ids.get(&id), Some(Known::Ours)) && taken.insert(id));
            if is_due && let Some(event) = event.take() {
                places.push(place);
                new.push(event);
            }
        }
        if new.is_empty() {
            return;
        }
        let receipts = self.broker.publish(new, self.options); // from here on the ids are not released any more
        self.ids
            .extend(taken.into_iter().map(|id| (id, Known::Published)));
        let mut named = Vec::new();
        for (place, receipt) in places.into_iter().zip(receipts.await) {
            if let Some(id) = self.named[place] {
                named.push((id, receipt));
                self.ids.insert(id, Known::Receipt(receipt));
            } else {
                self.receipts[place] = receipt;
            }
        }
        drop(self.broker.record(named)); // begun at the call
    }

    /// Releases those of its ids for which `which` returns true.
    async fn release(&mut self, which: impl Fn(Uuid) -> bool) {
        let mut given = Vec::new();
        for (id, known) in &mut self.ids {
            if matches!(known, Known::Ours) && which(*id) {
                *known = Known::Taken;
                given.push(*id);
            }
        }
        if !given.is_empty() {
            self.broker.release(given).await;
        }
    }

    /// Returns a receipt for each event. It is empty if the first publisher's process ended between its publication and its
    /// receipt.
    fn receipts(mut self) -> Vec<Receipt> {
        let receipts = std::mem::take(&mut self.receipts).into_iter();
        let places = receipts.zip(&self.named).zip(&self.events);
        let published = places.map(|((receipt, named), event)| Receipt {
            // `publish` takes each event that it publishes.
            is_duplicate: event.is_some(),
            ..match named.and_then(|id| self.ids.get(&id)) {
                Some(Known::Receipt(first)) => *first,
                _ => receipt,
            }
        });
        published.collect()
    }
}

impl Drop for Publication<'_> {
    fn drop(&mut self) {
        let ours = self.ids.iter().filter(|(_, known)| matches!(known, Known::Ours));
        let ours: Vec<Uuid> = ours.map(|(id, _)| *id).collect();
        if !ours.is_empty() {
            drop(self.broker.release(ours)); // begun at the call
        }
    }
}
