//! Events whose publisher chose the id are published once in the whole cluster, however often they are sent (contract:
//! an id is remembered for ten minutes). A repeat is told what the first was told.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use fanfare_core::{ANSWER_TO_COME, Broker, Claim, Event, Receipt};
use uuid::Uuid;

/// How often, and after what time, it is looked whether the first publisher of an id has its answer.
const LOOKS: usize = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Publishes those of `events` that are new, in order, and answers a receipt for each: for one that is not, that of the
/// first time.
///
/// # Errors
/// When an id was claimed by somebody who has not published it in two seconds.
pub async fn publish_once(broker: &dyn Broker, events: Vec<Event>) -> Result<Vec<Receipt>, InProgress> {
    publish(broker, events, LOOKS).await
}

/// As [`publish_once`], for one who does not need to know what the first publisher was told, and waits for nobody.
///
/// # Errors
/// When an id is claimed by somebody who has not published it yet.
pub async fn publish_unless_taken(broker: &dyn Broker, events: Vec<Event>) -> Result<(), InProgress> {
    publish(broker, events, 1).await.map(drop)
}

async fn publish(broker: &dyn Broker, events: Vec<Event>, looks: usize) -> Result<Vec<Receipt>, InProgress> {
    if !events.iter().any(|event| event.named) {
        return Ok(broker.publish(events).await);
    }
    let mut known = claim(broker, &events).await;
    let ids: Vec<Option<Uuid>> = events.iter().map(id_of).collect();
    let mut taken = Vec::new();
    let mut new = Vec::new();
    for event in events {
        // Of doubles in one request the first counts.
        let first = !event.named || (known.get(&event.id) == Some(&Claim::New) && !taken.contains(&event.id));
        if first {
            taken.extend(id_of(&event));
            new.push(event);
        }
    }
    let published: Vec<Option<Uuid>> = new.iter().map(id_of).collect();
    let receipts = broker.publish(new).await;
    let mut unnamed = Vec::new();
    let mut answers = Vec::new();
    for (id, receipt) in published.into_iter().zip(receipts) {
        match id {
            None => unnamed.push(receipt),
            Some(id) => {
                let answer = Bytes::from(serde_json::to_vec(&receipt).unwrap_or_default()); // to memory, so it cannot fail
                known.insert(id, Claim::Known(Some(answer.clone())));
                answers.push((id, answer));
            }
        }
    }
    drop(broker.record(answers)); // begun; nobody needs to wait for it
    let mut unnamed = unnamed.into_iter();
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        all.push(match id {
            None => unnamed.next().unwrap_or_default(),
            Some(id) => told(broker, id, known.get(&id), looks).await?,
        });
    }
    Ok(all)
}

/// The id, where the publisher chose it.
fn id_of(event: &Event) -> Option<Uuid> {
    event.named.then_some(event.id)
}

/// Somebody else is about to publish an event of that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of this id is being published by another request")]
pub struct InProgress;

async fn claim(broker: &dyn Broker, events: &[Event]) -> HashMap<Uuid, Claim> {
    let mut ids: Vec<Uuid> = events.iter().filter_map(id_of).collect();
    ids.sort_unstable();
    ids.dedup();
    let claims = broker.claim(ids.clone()).await;
    ids.into_iter().zip(claims).collect()
}

/// What the first publisher of `id` was told. Where its process ended after it had published and before it was told, nobody
/// knows the receipt.
async fn told(
    broker: &dyn Broker,
    id: Uuid,
    known: Option<&Claim>,
    looks: usize,
) -> Result<Receipt, InProgress> {
    let mut claim = known.cloned();
    for look in 0..looks {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            claim = broker.claim(vec![id]).await.pop();
        }
        match &claim {
            Some(Claim::Known(Some(answer))) if *answer != ANSWER_TO_COME => {
                return Ok(serde_json::from_slice(answer).unwrap_or_default());
            }
            // It was given back by one that could not publish it; who sends it again finds it new.
            Some(Claim::New) => {
                drop(broker.release(vec![id]));
                return Err(InProgress);
            }
            Some(Claim::Known(_)) | None => {}
        }
    }
    match claim {
        Some(Claim::Known(Some(_))) => Ok(Receipt::default()),
        _ => Err(InProgress),
    }
}
