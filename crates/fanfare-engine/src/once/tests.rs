#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Claim, Entry, Event, Interest,
    NodeAnswers, Present, RawJson, Reach, Receipt, Slot, UserId,
};
use uuid::Uuid;

use super::*;

async fn publish(
    broker: &ScriptedBroker,
    events: Vec<Event>,
    conflict: Conflict,
) -> Result<Vec<Receipt>, InProgress> {
    publish_once(broker, events, PublishOptions { receipt: true }, conflict).await
}

/// The actions of other publishers before a claim, by the number of the claim, from 1.
type Others = fn(look: usize, ids: &mut Ids);
type Ids = HashMap<Uuid, Claim>;

/// A broker that stores ids, with concurrent publishers.
struct ScriptedBroker {
    others: Others,
    ids: Mutex<Ids>,
    /// The ids of each claim.
    looks: Mutex<Vec<Vec<u128>>>,
    published: Mutex<Vec<u128>>,
}

impl ScriptedBroker {
    fn new(others: Others) -> Self {
        Self {
            others,
            ids: Mutex::default(),
            looks: Mutex::default(),
            published: Mutex::default(),
        }
    }

    fn looks(&self) -> Vec<Vec<u128>> {
        self.looks.lock().unwrap().clone()
    }

    fn published(&self) -> Vec<u128> {
        self.published.lock().unwrap().clone()
    }

    /// The ids that are claimed and not published.
    fn taken(&self) -> Vec<u128> {
        let ids = self.ids.lock().unwrap();
        let taken = ids.iter().filter(|(_, claim)| **claim == Claim::Taken);
        let mut taken: Vec<u128> = taken.map(|(id, _)| id.as_u128()).collect();
        taken.sort_unstable();
        taken
    }
}

impl Broker for ScriptedBroker {
    /// The reach of each event is its id.
    fn publish(&self, events: Vec<Event>, _: PublishOptions) -> BoxFuture<'static, Vec<Receipt>> {
        let ids: Vec<u128> = events.iter().map(|event| event.id.as_u128()).collect();
        self.published.lock().unwrap().extend(&ids);
        Box::pin(async move { ids.into_iter().map(receipt).collect() })
    }

    fn subscribe(&self, _: Interest) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn unsubscribe(&self, _: Interest) {}

    fn health(&self) -> BoxFuture<'_, BrokerHealth> {
        Box::pin(async { BrokerHealth::Embedded })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>> {
        Box::pin(async { Err(BrokerError::Away) })
    }

    fn ask(&self, _: Bytes) -> BoxFuture<'_, NodeAnswers> {
        Box::pin(async { NodeAnswers::default() })
    }

    fn broadcast(&self, _: Bytes) {}

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        let mut looks = self.looks.lock().unwrap();
        looks.push(ids.iter().map(Uuid::as_u128).collect());
        let mut known = self.ids.lock().unwrap();
        (self.others)(looks.len(), &mut known);
        let claims = ids.into_iter().map(|id| {
            let claim = known.get(&id).copied().unwrap_or(Claim::New);
            known.entry(id).or_insert(Claim::Taken);
            claim
        });
        let claims = claims.collect();
        Box::pin(async { claims })
    }

    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()> {
        let claims = receipts
            .into_iter()
            .map(|(id, receipt)| (id, Claim::Published(Some(receipt))));
        self.ids.lock().unwrap().extend(claims);
        Box::pin(async {})
    }

    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        let mut known = self.ids.lock().unwrap();
        for id in ids {
            known.remove(&id);
        }
        Box::pin(async {})
    }

    fn enter(&self, _: Entry) {}

    fn leave(&self, _: Channel, _: UserId) {}

    fn present(&self, _: &Channel) -> Vec<Present> {
        Vec::new()
    }

    fn rooms(&self) -> usize {
        0
    }

    fn acquire_slot(&self, _: Slot, _: usize) -> BoxFuture<'static, bool> {
        Box::pin(async { true })
    }

    fn release_slot(&self, _: Slot) {}

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn receipt(queued: u128) -> Receipt {
    let queued = u64::try_from(queued).unwrap();
    Receipt {
        reach: Reach {
            queued,
            ..Reach::default()
        },
        ..Receipt::default()
    }
}

/// Returns the receipts of events that this call has published, with their reach.
fn receipts(queued: &[u128]) -> Vec<Receipt> {
    marked(queued, &[])
}

/// Returns [`receipts`], where those at `repeats` were published by another call.
fn marked(queued: &[u128], repeats: &[usize]) -> Vec<Receipt> {
    let receipts = queued.iter().enumerate().map(|(place, queued)| Receipt {
        is_duplicate: repeats.contains(&place),
        ..receipt(*queued)
    });
    receipts.collect()
}

/// Events with these ids; those from 100 on were not chosen by the publisher.
fn events(ids: impl IntoIterator<Item = u128>) -> Vec<Event> {
    let data = RawJson::parse(&Bytes::from_static(b"1")).unwrap();
    let event = |id| Event {
        id: Uuid::from_u128(id),
        named: id < 100,
        ..Event::new(Audience::Everyone, None, data.clone(), SystemTime::now())
    };
    ids.into_iter().map(event).collect()
}

fn set(ids: &mut Ids, id: u128, claim: Claim) {
    ids.insert(Uuid::from_u128(id), claim);
}

fn published(ids: &mut Ids, id: u128, queued: u128) {
    set(ids, id, Claim::Published(Some(receipt(queued))));
}

#[tokio::test(start_paused = true)]
async fn new_events_are_published_in_order_and_duplicates_once() {
    let broker = ScriptedBroker::new(|_, _| {});
    let sent = [3, 100, 1, 3, 2, 101, 1];
    let all = publish(&broker, events(sent), Conflict::Wait).await;
    assert_eq!(all, Ok(marked(&sent, &[3, 6])));
    assert_eq!(broker.published(), [3, 100, 1, 2, 101]);
    // A repeat gets the same receipts.
    let again = publish(&broker, events([2, 1]), Conflict::Wait).await;
    assert_eq!(again, Ok(marked(&[2, 1], &[0, 1])));
    assert_eq!(
        publish(&broker, events([3, 4]), Conflict::Skip).await,
        Ok(marked(&[3, 4], &[0]))
    );
    assert_eq!(broker.published(), [3, 100, 1, 2, 101, 4]);
    assert_eq!(broker.looks(), [vec![1, 2, 3], vec![1, 2], vec![3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn a_call_claims_all_open_ids_together() {
    // Their publisher ended right after it had published them.
    let broker = ScriptedBroker::new(|look, ids| {
        for id in 1..100 {
            if look == 1 {
                set(ids, id, Claim::Published(None));
            }
        }
        if look == 2 {
            published(ids, 7, 70);
        }
    });
    let all = publish(&broker, events(1..100), Conflict::Wait).await.unwrap();
    let known = |id| if id == 7 { 70 } else { 0 };
    let queued: Vec<u128> = (1..100).map(known).collect();
    assert_eq!(all, marked(&queued, &(0..99).collect::<Vec<_>>()));
    assert_eq!(broker.published(), []);
    let looks = broker.looks();
    assert!((2..=9).contains(&looks.len()), "{}", looks.len());
    assert_eq!(looks[1].len(), 99);
    assert!(
        looks[2..]
            .iter()
            .all(|look| look.len() == 98 && !look.contains(&7))
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_another_publisher_has_claimed_an_id() {
    let broker = ScriptedBroker::new(|_, ids| set(ids, 2, Claim::Taken));
    let sent = || events([100, 3, 1, 2]);
    assert_eq!(publish(&broker, sent(), Conflict::Wait).await, Err(InProgress));
    assert!(broker.looks().len() > 2);
    assert_eq!(publish(&broker, sent(), Conflict::Refuse).await, Err(InProgress));
    assert_eq!(broker.published(), []);
    assert_eq!(broker.taken(), [2], "what it had claimed itself is given back");
}

#[tokio::test(start_paused = true)]
async fn new_events_are_published_once_the_claimed_ids_are_published() {
    let broker = ScriptedBroker::new(|look, ids| match look {
        1 | 2 => set(ids, 2, Claim::Taken),
        3 => set(ids, 2, Claim::Published(None)),
        _ => published(ids, 2, 20),
    });
    let all = publish(&broker, events([3, 2, 1]), Conflict::Wait).await;
    assert_eq!(all, Ok(marked(&[3, 20, 1], &[1])));
    assert_eq!(broker.published(), [3, 1]);
    // The ids above the taken one were released, so that the other publisher could claim them.
    assert_eq!(broker.looks(), [vec![1, 2, 3], vec![2, 3], vec![2, 3], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_another_publisher_released_is_published() {
    let others: Others = |look, ids| match look {
        1 => set(ids, 2, Claim::Taken),
        2 => drop(ids.remove(&Uuid::from_u128(2))),
        _ => {}
    };
    let broker = ScriptedBroker::new(others);
    let all = publish(&broker, events([3, 2, 1]), Conflict::Wait).await;
    assert_eq!(all, Ok(receipts(&[3, 2, 1])));
    assert_eq!(broker.published(), [3, 2, 1]);
    // It is published later than the others.
    let broker = ScriptedBroker::new(others);
    assert_eq!(
        publish(&broker, events([3, 2, 1]), Conflict::Skip).await,
        Ok(receipts(&[3, 2, 1]))
    );
    assert_eq!(broker.published(), [3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_refuses_conflicts_claims_once() {
    let broker = ScriptedBroker::new(|_, ids| {
        set(ids, 1, Claim::Published(None));
        published(ids, 2, 0);
    });
    let all = publish(&broker, events([1, 2, 3]), Conflict::Refuse).await;
    assert_eq!(all, Ok(marked(&[0, 0, 3], &[0, 1])));
    assert_eq!((broker.published(), broker.looks().len()), (vec![3], 1));
}

#[tokio::test(start_paused = true)]
async fn events_with_different_ids_do_not_wait_for_each_other() {
    let broker = ScriptedBroker::new(|_, ids| set(ids, 2, Claim::Taken));
    let all = publish(&broker, events([3, 2, 100, 1]), Conflict::Skip).await;
    assert_eq!(all, Ok(marked(&[3, 0, 100, 1], &[1])));
    assert_eq!(broker.published(), [3, 100, 1]);
    assert!(broker.looks()[1..].iter().all(|look| look == &[2]));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_does_not_publish_again() {
    // The broker loses its records in between.
    let broker = ScriptedBroker::new(|look, ids| match look {
        1 => set(ids, 1, Claim::Published(None)),
        _ => drop(ids.remove(&Uuid::from_u128(1))),
    });
    assert_eq!(
        publish(&broker, events([1]), Conflict::Skip).await,
        Ok(marked(&[0], &[0]))
    );
    assert_eq!(
        publish(&broker, events([2]), Conflict::Wait).await,
        Ok(receipts(&[2]))
    );
    assert_eq!(broker.published(), [2]);
    assert_eq!(broker.taken(), []);
}

#[tokio::test(start_paused = true)]
async fn two_callers_with_the_same_ids_do_not_deadlock() {
    // The other publisher has claimed every second id at the same time, and waits for the lowest.
    let broker = ScriptedBroker::new(|look, ids| match look {
        1 => [2, 4].into_iter().for_each(|id| set(ids, id, Claim::Taken)),
        2 => {
            assert!(!ids.contains_key(&Uuid::from_u128(3)), "given back to the other");
            assert!(ids.contains_key(&Uuid::from_u128(1)), "and this one is kept");
        }
        3 => {
            for id in [2, 4] {
                ids.remove(&Uuid::from_u128(id));
            }
        }
        _ => {}
    });
    assert_eq!(
        publish(&broker, events(1..5), Conflict::Wait).await,
        Ok(receipts(&[1, 2, 3, 4]))
    );
    assert_eq!(broker.published(), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_holds_no_ids() {
    let broker = ScriptedBroker::new(|_, ids| set(ids, 2, Claim::Taken));
    let waiting = publish(&broker, events([1, 2]), Conflict::Wait);
    assert!(tokio::time::timeout(FIRST_PAUSE / 2, waiting).await.is_err());
    assert_eq!(broker.taken(), [2]);
}
