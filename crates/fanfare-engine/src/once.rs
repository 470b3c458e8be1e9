//! Events whose publisher chose the id are published once in the whole cluster, however often they are sent (contract:
//! an id is remembered for ten minutes). A repeat gets the receipt of the first.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fanfare_core::{Broker, Claim, Event, PublishOptions, Receipt};
use tokio::time::Instant;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// How long others who have the same ids are waited for, all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
/// From the first look at what has become of an id to the second, and the most from one to the next: each time twice as
/// long, since with many ids a look is much work.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// The receipt of an event that is published once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnceReceipt {
    /// The receipt of the first time.
    pub receipt: Receipt,
    /// This call did not publish the event: its id was published before, or is that of an earlier event of the same call.
    pub is_duplicate: bool,
}

/// Publishes those of `events` that are new, in order, and returns a receipt for each. All or nothing: while another
/// caller has claimed one of the ids and has not published it, none is published.
///
/// # Errors
/// When an id was claimed by a caller that has not published it in two seconds. Then nothing was published.
pub async fn publish_once(
    broker: &dyn Broker,
    events: Vec<Event>,
    options: PublishOptions,
) -> Result<Vec<OnceReceipt>, InProgress> {
    publish_all(broker, events, options, PATIENCE).await
}

/// As [`publish_once`], for one who does not need to know what the first publisher was told, and waits for nobody.
///
/// # Errors
/// When an id is claimed by somebody who has not published it yet. Then nothing was published.
pub async fn publish_unless_taken(broker: &dyn Broker, events: Vec<Event>) -> Result<(), InProgress> {
    let options = PublishOptions { receipt: false };
    publish_all(broker, events, options, Duration::ZERO)
        .await
        .map(drop)
}

/// As [`publish_once`], for events that have nothing to do with each other: none waits for another. The receipt of one
/// that somebody else is about to publish counts nobody.
pub async fn publish_each_once(broker: &dyn Broker, events: Vec<Event>) -> Vec<OnceReceipt> {
    each(broker, events, PublishOptions { receipt: true }, PATIENCE).await
}

/// Somebody else is about to publish an event of that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of this id is being published by another request")]
pub struct InProgress;

async fn publish_all(
    broker: &dyn Broker,
    events: Vec<Event>,
    options: PublishOptions,
    patience: Duration,
) -> Result<Vec<OnceReceipt>, InProgress> {
    if !events.iter().any(|event| event.named) {
        return Ok(publish_unnamed(broker, events, options).await);
    }
    let mut publication = Publication::begin(broker, events, options, patience).await;
    while let Some(taken) = publication.first_taken() {
        // Of two who wait for each other's ids, none would ever go on: nobody holds one while waiting for a lower one.
        publication.give_back(|id| id > taken).await;
        if !publication.look_again().await {
            publication.give_back(|_| true).await;
            return Err(InProgress);
        }
    }
    publication.publish().await;
    while publication.is_open() && publication.look_again().await {}
    Ok(publication.receipts())
}

async fn each(
    broker: &dyn Broker,
    events: Vec<Event>,
    options: PublishOptions,
    patience: Duration,
) -> Vec<OnceReceipt> {
    if !events.iter().any(|event| event.named) {
        return publish_unnamed(broker, events, options).await;
    }
    let mut publication = Publication::begin(broker, events, options, patience).await;
    publication.publish().await;
    while publication.is_open() && publication.look_again().await {
        // What somebody gave back who could not publish it.
        publication.publish().await;
    }
    publication.receipts()
}

async fn publish_unnamed(
    broker: &dyn Broker,
    events: Vec<Event>,
    options: PublishOptions,
) -> Vec<OnceReceipt> {
    let receipts = broker.publish(events, options).await.into_iter();
    let published = receipts.map(|receipt| OnceReceipt {
        receipt,
        is_duplicate: false,
    });
    published.collect()
}

/// What is known of an id.
enum Known {
    /// It is this publication's, and not published yet.
    Ours,
    /// Somebody else has claimed it, and has not published it.
    Taken,
    /// It has been published; its receipt is not known.
    Published,
    /// It has been published, with this receipt.
    Receipt(Receipt),
}

/// Events on their way. Ids that it has claimed and not published are given back when it is dropped.
struct Publication<'a> {
    broker: &'a dyn Broker,
    options: PublishOptions,
    /// In the order of the ids.
    ids: BTreeMap<Uuid, Known>,
    /// The id of each event whose publisher chose it.
    named: Vec<Option<Uuid>>,
    /// The events that are not published, in their places.
    events: Vec<Option<Event>>,
    /// What became of the events without such an id, in their places.
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

    /// The lowest id that somebody else has claimed and not published.
    fn first_taken(&self) -> Option<Uuid> {
        let mut ids = self.ids.iter();
        ids.find_map(|(id, known)| matches!(known, Known::Taken).then_some(*id))
    }

    /// Whether there is an id of which more may become known.
    fn is_open(&self) -> bool {
        self.ids
            .values()
            .any(|known| matches!(known, Known::Taken | Known::Published))
    }

    /// Looks once more at all ids that are open, after a pause; answers whether there was time for it.
    async fn look_again(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        self.look().await;
        true
    }

    /// Claims all ids that are open, together.
    async fn look(&mut self) {
        let open = self
            .ids
            .iter()
            .filter(|(_, known)| matches!(known, Known::Taken | Known::Published));
        let open: Vec<Uuid> = open.map(|(id, _)| *id).collect();
        let claims = self.broker.claim(open.clone()).await;
        let mut forgotten = Vec::new();
        for (id, claim) in open.into_iter().zip(claims) {
            let Some(known) = self.ids.get_mut(&id) else {
                continue;
            };
            match claim {
                // Whoever published it was known to have done so, even if the broker has lost its memory since.
                Claim::New if matches!(known, Known::Published) => forgotten.push(id),
                Claim::New => *known = Known::Ours,
                Claim::Taken => {}
                Claim::Published(None) => *known = Known::Published,
                Claim::Published(Some(receipt)) => *known = Known::Receipt(receipt),
            }
        }
        if !forgotten.is_empty() {
            drop(self.broker.release(forgotten)); // begun; nobody needs to wait for it
        }
    }

    /// Publishes, in order, the events that are this publication's and those without an id.
    async fn publish(&mut self) {
        let mut taken = HashSet::new();
        let mut places = Vec::new();
        let mut new = Vec::new();
        for (place, (event, named)) in self.events.iter_mut().zip(&self.named).enumerate() {
            // Of doubles in one request the first counts.
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
        let receipts = self.broker.publish(new, self.options); // placed, so that the ids are nobody's to give back
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
        drop(self.broker.record(named)); // begun; nobody needs to wait for it
    }

    /// Gives back those of its ids of which `which` says so.
    async fn give_back(&mut self, which: impl Fn(Uuid) -> bool) {
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

    /// A receipt for each event. It is empty where the first publisher's process ended after it had published and before
    /// it knew the receipt.
    fn receipts(mut self) -> Vec<OnceReceipt> {
        let receipts = std::mem::take(&mut self.receipts).into_iter();
        let places = receipts.zip(&self.named).zip(&self.events);
        let published = places.map(|((receipt, named), event)| OnceReceipt {
            receipt: match named.and_then(|id| self.ids.get(&id)) {
                Some(Known::Receipt(first)) => *first,
                _ => receipt,
            },
            // `publish` takes each event that it publishes.
            is_duplicate: event.is_some(),
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
