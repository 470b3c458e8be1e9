//! Publishes each event whose publisher chose the id once in the whole cluster. The broker stores an id for ten minutes (contract). A
//! repeat gets the receipt of the first publication.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fanfare_core::{Broker, Claim, Event, PublishOptions, Receipt};
use tokio::time::Instant;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// The total time that a call waits for other publishers of the same ids.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first and the longest pause between two claims of the same ids. It doubles each time, because to claim many ids is much
/// work.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// The behaviour for an id that another publisher has claimed and not published yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Waits up to two seconds for the other publisher, then publishes nothing.
    Wait,
    /// Publishes nothing.
    Refuse,
    /// Publishes all other events, and waits up to two seconds for the other publisher's receipt. Without it, the receipt is empty.
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
        // Two publishers that wait for each other's ids would deadlock, so none holds an id while it waits for a lower one.
        publication.release(|id| id > taken).await;
        if !publication.retry_claims().await {
            publication.release(|_| true).await;
            return Err(InProgress);
        }
    }
    publication.publish().await;
    while publication.is_open() && publication.retry_claims().await {
        // Ids that another publisher released without publishing them.
        publication.publish().await;
    }
    Ok(publication.receipts())
}

/// The state of an id.
enum IdState {
    /// This publication has claimed it, and has not published it.
    Ours,
    /// Another publisher has claimed it, and has not published it.
    Taken,
    /// It has been published; its receipt is not state.
    Published,
    /// It has been published, with this receipt.
    Receipt(Receipt),
}

impl IdState {
    /// Returns whether the state may still change.
    fn is_open(&self) -> bool {
        matches!(self, Self::Taken | Self::Published)
    }
}

/// A publication in progress. Dropping it releases the ids that it has claimed and not published.
struct Publication<'a> {
    broker: &'a dyn Broker,
    options: PublishOptions,
    /// The states of the ids, in order.
    ids: BTreeMap<Uuid, IdState>,
    /// The id of each event whose publisher chose it.
    named: Vec<Option<Uuid>>,
    /// The events; `None` in place of a published one.
    events: Vec<Option<Event>>,
    /// The receipts of events without such an id, by index.
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
            ids: named.iter().flatten().map(|id| (*id, IdState::Taken)).collect(),
            receipts: vec![Receipt::default(); events.len()],
            events: events.into_iter().map(Some).collect(),
            named,
            until: Instant::now() + patience,
            pause: FIRST_PAUSE,
        };
        publication.claim_open().await;
        publication
    }

    /// Returns the lowest id that another publisher has claimed and not published.
    fn first_taken(&self) -> Option<Uuid> {
        let mut ids = self.ids.iter();
        ids.find_map(|(id, state)| matches!(state, IdState::Taken).then_some(*id))
    }

    /// Returns whether the state of an id may still change.
    fn is_open(&self) -> bool {
        self.ids.values().any(IdState::is_open)
    }

    /// Claims all open ids again, after a pause. Returns whether there was time for it.
    async fn retry_claims(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        self.claim_open().await;
        true
    }

    /// Claims all open ids.
    async fn claim_open(&mut self) {
        let open = self.ids.iter().filter(|(_, state)| state.is_open());
        let open: Vec<Uuid> = open.map(|(id, _)| *id).collect();
        let claims = self.broker.claim(open.clone()).await;
        let mut forgotten = Vec::new();
        for (id, claim) in open.into_iter().zip(claims) {
            let Some(state) = self.ids.get_mut(&id) else {
                continue;
            };
            match claim {
                // It was published; the broker has lost its record since.
                Claim::New if matches!(state, IdState::Published) => forgotten.push(id),
                Claim::New => *state = IdState::Ours,
                Claim::Taken => {}
                Claim::Published(None) => *state = IdState::Published,
                Claim::Published(Some(receipt)) => *state = IdState::Receipt(receipt),
            }
        }
        if !forgotten.is_empty() {
            drop(self.broker.release(forgotten)); // begun at the call
        }
    }

    /// Publishes, in order, the events with claimed ids and those without an id.
    async fn publish(&mut self) {
        let mut taken = HashSet::new();
        let mut places = Vec::new();
        let mut new = Vec::new();
        for (place, (event, named)) in self.events.iter_mut().zip(&self.named).enumerate() {
            // Of duplicates in one request the first counts.
            let is_due =
                named.is_none_or(|id| matches!(self.ids.get(&id), Some(IdState::Ours)) && taken.insert(id));
            if is_due && let Some(event) = event.take() {
                places.push(place);
                new.push(event);
            }
        }
        if new.is_empty() {
            return;
        }
        let receipts = self.broker.publish(new, self.options); // from now on `drop` must not release the ids
        self.ids
            .extend(taken.into_iter().map(|id| (id, IdState::Published)));
        let mut named = Vec::new();
        for (place, receipt) in places.into_iter().zip(receipts.await) {
            if let Some(id) = self.named[place] {
                named.push((id, receipt));
                self.ids.insert(id, IdState::Receipt(receipt));
            } else {
                self.receipts[place] = receipt;
            }
        }
        drop(self.broker.record(named)); // begun at the call
    }

    /// Releases those of its claimed ids for which `which` returns true.
    async fn release(&mut self, which: impl Fn(Uuid) -> bool) {
        let mut released = Vec::new();
        for (id, state) in &mut self.ids {
            if matches!(state, IdState::Ours) && which(*id) {
                *state = IdState::Taken;
                released.push(*id);
            }
        }
        if !released.is_empty() {
            self.broker.release(released).await;
        }
    }

    /// Returns a receipt for each event. The receipt of a repeat is empty if the first publisher ended before it recorded its own.
    fn receipts(mut self) -> Vec<Receipt> {
        let receipts = std::mem::take(&mut self.receipts).into_iter();
        let places = receipts.zip(&self.named).zip(&self.events);
        let published = places.map(|((receipt, named), event)| Receipt {
            // `publish` takes each event that it publishes.
            is_duplicate: event.is_some(),
            ..match named.and_then(|id| self.ids.get(&id)) {
                Some(IdState::Receipt(first)) => *first,
                _ => receipt,
            }
        });
        published.collect()
    }
}

impl Drop for Publication<'_> {
    fn drop(&mut self) {
        let ours = self
            .ids
            .iter()
            .filter(|(_, state)| matches!(state, IdState::Ours));
        let ours: Vec<Uuid> = ours.map(|(id, _)| *id).collect();
        if !ours.is_empty() {
            drop(self.broker.release(ours)); // begun at the call
        }
    }
}
