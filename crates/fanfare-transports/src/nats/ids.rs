//! Idempotency keys in JetStream: one key of a bucket for each, claimed by a change that expects no earlier one.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fanfare_cluster::transport::{Accepted, IdStore, Stored, WantedId};
use fanfare_core::{
    BoxFuture, CLAIM_LIFETIME, Claim, Receipt, UNPUBLISHED_LIFETIME, history::Position, unix_millis,
};
use uuid::Uuid;

use super::{
    jetstream::{self, Bucket},
    names::Names,
    protocol::Publish,
    requests::{Cached, Reply, RequestError, Requests, ok_or_note},
};
use crate::id_values::{self, CLAIMED, PUBLISHED, TOGETHER};

/// The bucket's name, behind the prefix.
const BUCKET: &str = "fanfare-ids";
/// The value of an id that was released.
const RELEASED: &[u8] = b"-";
/// The key by which nodes read the server's clock: ages are judged by the clock that all nodes share.
const CLOCK: &str = "clock";
/// The time for which a reading of the server's clock is used. The next reading creates the bucket again if it is gone.
const CLOCK_LIFETIME: Duration = Duration::from_secs(60);
/// The most attempts at a change that other nodes preempt.
const ROUNDS: usize = 4;

/// The store of ids on one connection.
pub(super) struct Ids {
    requests: Arc<Requests>,
    bucket: Bucket,
    clock: Cached<Clock>,
}

/// A reading of the server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    time: SystemTime,
    read_at: Instant,
}

impl IdStore for Ids {
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>> {
        Box::pin(self.claims(ids))
    }

    fn settle<'a>(&'a self, receipts: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let mut stored = Stored::default();
            if let Some(clock) = ok_or_note(&mut stored, self.prepare().await) {
                self.settle_all(receipts, clock, &mut stored).await;
            }
            stored
        })
    }

    fn release<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let mut stored = Stored::default();
            let puts = ids
                .iter()
                .map(|id| self.bucket.put(&key(id), RELEASED.into(), None));
            for reply in self.requests.send(puts).await {
                ok_or_note(&mut stored, jetstream::stored_sequence(reply));
            }
            stored
        })
    }
}

impl Ids {
    pub(super) fn new(names: &Names, requests: Arc<Requests>) -> Self {
        Self {
            bucket: Bucket::new(&names.bucket(BUCKET)),
            requests,
            clock: Cached::default(),
        }
    }

    /// Returns the request that notes that `id` was published, until its receipt is stored.
    pub(super) fn published(&self, id: &Uuid) -> Publish {
        self.bucket.put(&key(id), PUBLISHED.into(), None)
    }

    /// Creates the bucket if it is missing, and reads the server's clock.
    ///
    /// # Errors
    /// If JetStream refuses or does not reply.
    pub(super) async fn prepare(&self) -> Result<Clock, RequestError> {
        let is_fresh = |clock: &Clock| clock.read_at.elapsed() < CLOCK_LIFETIME;
        self.clock.get(&self.requests, is_fresh, self.create()).await
    }

    async fn create(&self) -> Result<Clock, RequestError> {
        let bucket = &self.bucket;
        let created = bucket.create(&self.requests, Some(CLAIM_LIFETIME), None).await;
        let put = bucket.put(CLOCK, bytes::Bytes::new(), None);
        let stored = jetstream::stored_sequence(self.requests.send_one(put).await);
        // An account may have the right to use a bucket, and not to create it.
        if let Err(error) = stored {
            return Err(created.err().unwrap_or(error));
        }
        let found = jetstream::stored_value(self.requests.send_one(bucket.get(CLOCK)).await)?;
        let lost = || RequestError::Refused("JetStream lost what was stored at once".to_owned());
        Ok(Clock {
            time: found.ok_or_else(lost)?.at,
            read_at: Instant::now(),
        })
    }

    /// Claims `ids`. Returns one claim for each; `None` if JetStream refused or did not reply.
    async fn claims(&self, ids: &[WantedId]) -> Stored<Vec<Option<Claim>>> {
        let mut claims = vec![None; ids.len()];
        let mut stored = Stored::default();
        if let Some(clock) = ok_or_note(&mut stored, self.prepare().await) {
            self.claim_all(ids, clock, &mut claims, &mut stored).await;
        }
        stored.map(|()| claims)
    }

    async fn claim_all(
        &self,
        ids: &[WantedId],
        clock: Clock,
        claims: &mut [Option<Claim>],
        stored: &mut Stored<()>,
    ) {
        let value = |at: usize| match ids[at].receiving_since {
            Some(_) => TOGETHER,
            None => CLAIMED,
        };
        // The indices of ids, each with the number of the last change that is expected.
        let mut wanted: Vec<(usize, u64)> = (0..ids.len()).map(|at| (at, 0)).collect();
        for _ in 0..ROUNDS {
            let puts = wanted.iter().map(|&(at, sequence)| {
                self.bucket
                    .put(&key(&ids[at].id), value(at).into(), Some(sequence))
            });
            let replies = self.requests.send(puts).await;
            let mut existing = Vec::new();
            for (&(at, _), reply) in wanted.iter().zip(replies) {
                match ok_or_note(stored, jetstream::stored_sequence(reply)) {
                    Some(Some(_)) => claims[at] = Some(Claim::New),
                    Some(None) => existing.push(at),
                    None => {}
                }
            }
            if existing.is_empty() {
                return;
            }
            let gets = existing.iter().map(|&at| self.bucket.get(&key(&ids[at].id)));
            let replies = self.requests.send(gets).await;
            wanted.clear();
            for (at, reply) in existing.into_iter().zip(replies) {
                match ok_or_note(stored, jetstream::stored_value(reply)) {
                    Some(Some(found)) => {
                        let age = clock.age(found.at);
                        if is_free(&found.value, age) {
                            wanted.push((at, found.sequence));
                        } else {
                            let receiving = ids[at].receiving_since.map(|since| since.elapsed());
                            claims[at] = Some(id_values::claim(&found.value, age, receiving));
                        }
                    }
                    // It has expired meanwhile.
                    Some(None) => wanted.push((at, 0)),
                    None => {}
                }
            }
        }
    }

    /// Stores the receipts of ids that are still remembered.
    async fn settle_all(&self, receipts: &[(Uuid, Receipt)], clock: Clock, stored: &mut Stored<()>) {
        let mut wanted: Vec<&(Uuid, Receipt)> = receipts.iter().collect();
        for _ in 0..ROUNDS {
            let gets = wanted.iter().map(|(id, _)| self.bucket.get(&key(id)));
            let replies = self.requests.send(gets).await;
            let mut existing = Vec::new();
            for (receipt, reply) in wanted.into_iter().zip(replies) {
                if let Some(Some(found)) = ok_or_note(stored, jetstream::stored_value(reply))
                    && !is_free(&found.value, clock.age(found.at))
                {
                    existing.push((receipt, found.sequence));
                }
            }
            let puts = existing.iter().map(|((id, receipt), sequence)| {
                let value = id_values::settled(receipt).into();
                self.bucket.put(&key(id), value, Some(*sequence))
            });
            let replies = self.requests.send(puts).await;
            wanted = Vec::new();
            for ((receipt, _), reply) in existing.into_iter().zip(replies) {
                if ok_or_note(stored, jetstream::stored_sequence(reply)) == Some(None) {
                    wanted.push(receipt);
                }
            }
            if wanted.is_empty() {
                return;
            }
        }
    }
}

impl Clock {
    fn now(&self) -> SystemTime {
        self.time + self.read_at.elapsed()
    }

    /// Returns the time by the server's clock, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        unix_millis(self.now())
    }

    /// Returns the time since `at` by the server's clock.
    fn age(&self, at: SystemTime) -> Duration {
        self.now().duration_since(at).unwrap_or_default()
    }
}

/// Returns the result for a published message. `id_reply` is the reply to the request that marked its id as published.
pub(super) fn accepted(id_reply: Option<Reply>, position: Option<Position>) -> Accepted {
    let id_error = id_reply.and_then(|reply| jetstream::stored_sequence(reply).err());
    Accepted {
        listeners: None,
        id_refused: id_error.map(RequestError::reason),
        position,
        unkept: None,
    }
}

/// Returns whether an id with this value may be claimed. JetStream keeps all values for the longest of their lifetimes.
fn is_free(value: &[u8], age: Duration) -> bool {
    value == RELEASED || (value == CLAIMED && age > UNPUBLISHED_LIFETIME)
}

fn key(id: &Uuid) -> String {
    id.simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_ids_and_old_claims_are_free() {
        let (short, long) = (
            Duration::from_secs(1),
            UNPUBLISHED_LIFETIME + Duration::from_secs(1),
        );
        for (value, age, expected) in [
            (CLAIMED, short, false),
            (CLAIMED, long, true),
            (RELEASED, short, true),
            (PUBLISHED, long, false),
            (TOGETHER, long, false),
            (b"=1,1,0,1", long, false),
            (b"?", long, false),
        ] {
            assert_eq!(is_free(value, age), expected, "{value:?}");
        }
    }

    #[test]
    fn ages_are_by_the_servers_clock() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let clock = Clock {
            time,
            read_at: Instant::now(),
        };
        assert!(clock.age(time - Duration::from_secs(30)) >= Duration::from_secs(30));
        assert_eq!(clock.age(time + Duration::from_secs(30)), Duration::ZERO);
    }
}
