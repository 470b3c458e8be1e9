//! Events whose publisher chose the id are published once in the whole cluster, however often they are sent (contract:
//! an id is remembered for ten minutes). A repeat is told what the first was told.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use fanfare_core::{Broker, Claim, Event, Receipt};
use uuid::Uuid;

/// How often, and after what time, it is looked whether the first publisher of an id has its answer.
const LOOKS: usize = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Publishes those of `events` that are new, in order. Answers for each how many connections it was queued to, and
/// whether the broker was away for any.
///
/// # Errors
/// When an id was claimed by somebody who has not published it in two seconds.
pub async fn publish_once(broker: &dyn Broker, events: Vec<Event>) -> Result<(Vec<u64>, bool), InProgress> {
    if !events.iter().any(|event| event.named) {
        let receipts = broker.publish(events).await;
        return Ok((receipts.iter().map(queued).collect(), is_degraded(&receipts)));
    }
    let mut known = claim(broker, &events).await;
    let ids: Vec<Option<Uuid>> = events
        .iter()
        .map(|event| event.named.then_some(event.id))
        .collect();
    let mut taken = Vec::new();
    let mut new = Vec::new();
    for event in events {
        // Of doubles in one request the first counts.
        let first = !event.named || (known.get(&event.id) == Some(&Claim::New) && !taken.contains(&event.id));
        if first {
            taken.extend(event.named.then_some(event.id));
            new.push(event);
        }
    }
    let numbers: Vec<Option<Uuid>> = new.iter().map(|event| event.named.then_some(event.id)).collect();
    let receipts = broker.publish(new).await;
    let mut unnamed = Vec::new();
    let mut answers = Vec::new();
    for (id, receipt) in numbers.into_iter().zip(&receipts) {
        match id {
            None => unnamed.push(queued(receipt)),
            Some(id) => {
                let answer = Bytes::from(queued(receipt).to_string());
                known.insert(id, Claim::Known(Some(answer.clone())));
                answers.push((id, answer));
            }
        }
    }
    drop(broker.record(answers)); // begun; nobody needs to wait for it
    let mut unnamed = unnamed.into_iter();
    let mut counts = Vec::with_capacity(ids.len());
    for id in ids {
        counts.push(match id {
            None => unnamed.next().unwrap_or_default(),
            Some(id) => told(broker, id, known.get(&id)).await?,
        });
    }
    Ok((counts, is_degraded(&receipts)))
}

/// Somebody else is about to publish an event of that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of this id is being published by another request")]
pub struct InProgress;

async fn claim(broker: &dyn Broker, events: &[Event]) -> HashMap<Uuid, Claim> {
    let mut ids: Vec<Uuid> = events
        .iter()
        .filter(|event| event.named)
        .map(|event| event.id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let claims = broker.claim(ids.clone()).await;
    ids.into_iter().zip(claims).collect()
}

/// What the first publisher of `id` was told.
async fn told(broker: &dyn Broker, id: Uuid, known: Option<&Claim>) -> Result<u64, InProgress> {
    let mut claim = known.cloned();
    for _ in 0..LOOKS {
        match &claim {
            Some(Claim::Known(Some(answer))) => {
                let count = std::str::from_utf8(answer)
                    .ok()
                    .and_then(|text| text.parse().ok());
                return Ok(count.unwrap_or_default());
            }
            // It was given back by one that could not publish it; who sends it again finds it new.
            Some(Claim::New) => {
                drop(broker.release(vec![id]));
                return Err(InProgress);
            }
            Some(Claim::Known(None)) | None => {}
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        claim = broker.claim(vec![id]).await.pop();
    }
    Err(InProgress)
}

fn queued(receipt: &Receipt) -> u64 {
    receipt.reach.queued
}

fn is_degraded(receipts: &[Receipt]) -> bool {
    receipts.iter().any(|receipt| receipt.degraded)
}
