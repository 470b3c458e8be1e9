//! Idempotency keys in JetStream: one key of a bucket for each, claimed by a change that expects none before.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fanfare_cluster::transport::{Accepted, IdStore, Stored, WantedId};
use fanfare_core::{
    BoxFuture, CLAIM_LIFETIME, Claim, Receipt, UNANSWERED_LIFETIME, history::Position, unix_millis,
};
use uuid::Uuid;

use super::{
    jetstream::{self, Bucket},
    names::Names,
    protocol::{Publish, ServerMessage},
    questions::{Learned, Questions, Unanswered, note},
};
use crate::id_values::{self, CLAIMED, PUBLISHED, TOGETHER};

/// The bucket's name, behind the prefix.
const BUCKET: &str = "fanfare-ids";
/// The value of an id that was released.
const RELEASED: &[u8] = b"-";
/// The key by which nodes read the server's clock: ages are judged by the clock that all nodes share.
const CLOCK: &str = "clock";
/// How long a reading of the server's clock is used. The next one creates the bucket again if it is gone.
const CLOCK_LIFETIME: Duration = Duration::from_secs(60);
/// The most ids in one batch.
const IDS: usize = 512;
/// The most attempts of a change that other nodes preempt.
const ROUNDS: usize = 4;

/// The store of ids on one connection.
pub(super) struct Ids {
    questions: Arc<Questions>,
    bucket: Bucket,
    clock: Learned<Clock>,
}

/// A reading of the server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    said: SystemTime,
    read: Instant,
}

impl IdStore for Ids {
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>> {
        Box::pin(self.claims(ids))
    }

    fn settle<'a>(&'a self, receipts: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let mut stored = Stored::default();
            for some in receipts.chunks(IDS) {
                if stored.lost {
                    break;
                }
                self.settle_some(some, &mut stored).await;
            }
            stored
        })
    }

    fn release<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let mut stored = Stored::default();
            for some in ids.chunks(IDS) {
                let released = some
                    .iter()
                    .map(|id| self.bucket.put(&key(id), RELEASED.into(), None));
                for answer in self.questions.ask(released).await {
                    let _ = note(&mut stored, jetstream::change(answer));
                }
            }
            stored
        })
    }
}

impl Ids {
    pub(super) fn new(names: &Names, questions: Arc<Questions>) -> Self {
        Self {
            bucket: Bucket::new(&names.bucket(BUCKET)),
            questions,
            clock: Learned::default(),
        }
    }

    /// Returns the request that notes that `id` was published, until its receipt is stored.
    pub(super) fn published(&self, id: &Uuid) -> Publish {
        self.bucket.put(&key(id), PUBLISHED.into(), None)
    }

    /// Creates the bucket if it is missing, and reads the server's clock.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub(super) async fn prepare(&self) -> Result<Clock, Unanswered> {
        let serves = |clock: &Clock| clock.read.elapsed() < CLOCK_LIFETIME;
        self.clock.get(&self.questions, serves, self.make()).await
    }

    async fn make(&self) -> Result<Clock, Unanswered> {
        let bucket = &self.bucket;
        let created = bucket.create(&self.questions, Some(CLAIM_LIFETIME), None).await;
        let put = jetstream::change(
            self.questions
                .ask_one(bucket.put(CLOCK, bytes::Bytes::new(), None))
                .await,
        );
        // An account may use a bucket that it may not create.
        match (created, put) {
            (_, Ok(_)) => {}
            (Err(reason), _) | (Ok(_), Err(reason)) => return Err(reason),
        }
        let said = jetstream::found(self.questions.ask_one(bucket.get(CLOCK)).await)?;
        let said = said
            .ok_or_else(|| Unanswered::Refused("JetStream lost what was stored at once".to_owned()))?
            .at;
        let read = Instant::now();
        Ok(Clock { said, read })
    }

    /// Claims `ids`; one answer for each.
    async fn claims(&self, ids: &[WantedId]) -> Stored<Vec<Option<Claim>>> {
        let mut claims = vec![None; ids.len()];
        let mut stored = Stored::default();
        for (ids, claims) in ids.chunks(IDS).zip(claims.chunks_mut(IDS)) {
            let prepared = self.prepare().await;
            let Some(clock) = note(&mut stored, prepared) else {
                break;
            };
            self.claim_some(ids, clock, claims, &mut stored).await;
        }
        stored.map(|()| claims)
    }

    async fn claim_some(
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
        // The ids' indices, and for each the number of the change that is expected to be the last.
        let mut wanted: Vec<(usize, u64)> = (0..ids.len()).map(|at| (at, 0)).collect();
        for _ in 0..ROUNDS {
            let puts = wanted.iter().map(|&(at, sequence)| {
                self.bucket
                    .put(&key(&ids[at].id), value(at).into(), Some(sequence))
            });
            let answers = self.questions.ask(puts).await;
            let mut held_by_others = Vec::new();
            for (&(at, _), answer) in wanted.iter().zip(answers) {
                match note(stored, jetstream::change(answer)) {
                    Some(Some(_)) => claims[at] = Some(Claim::New),
                    Some(None) => held_by_others.push(at),
                    None => {}
                }
            }
            if held_by_others.is_empty() {
                return;
            }
            let gets = held_by_others
                .iter()
                .map(|&at| self.bucket.get(&key(&ids[at].id)));
            let answers = self.questions.ask(gets).await;
            wanted.clear();
            for (at, answer) in held_by_others.into_iter().zip(answers) {
                match note(stored, jetstream::found(answer)) {
                    Some(Some(found)) => {
                        let age = clock.age(found.at);
                        if is_free(&found.value, age) {
                            wanted.push((at, found.sequence));
                        } else {
                            let receiving = ids[at].receiving_since.map(|since| since.elapsed());
                            claims[at] = Some(id_values::claim(&found.value, age, receiving));
                        }
                    }
                    // It has expired since.
                    Some(None) => wanted.push((at, 0)),
                    None => {}
                }
            }
        }
    }

    /// Stores the receipts of ids that are still remembered.
    async fn settle_some(&self, receipts: &[(Uuid, Receipt)], stored: &mut Stored<()>) {
        let prepared = self.prepare().await;
        let Some(clock) = note(stored, prepared) else {
            return;
        };
        let mut wanted: Vec<&(Uuid, Receipt)> = receipts.iter().collect();
        for _ in 0..ROUNDS {
            let gets = wanted.iter().map(|(id, _)| self.bucket.get(&key(id)));
            let answers = self.questions.ask(gets).await;
            let mut there = Vec::new();
            for (receipt, answer) in wanted.into_iter().zip(answers) {
                if let Some(Some(found)) = note(stored, jetstream::found(answer))
                    && !is_free(&found.value, clock.age(found.at))
                {
                    there.push((receipt, found.sequence));
                }
            }
            let puts = there.iter().map(|((id, receipt), sequence)| {
                let value = id_values::settled(receipt).into();
                self.bucket.put(&key(id), value, Some(*sequence))
            });
            let answers = self.questions.ask(puts).await;
            wanted = Vec::new();
            for ((receipt, _), answer) in there.into_iter().zip(answers) {
                if note(stored, jetstream::change(answer)) == Some(None) {
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
        self.said + self.read.elapsed()
    }

    /// Returns the time by the server's clock, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        unix_millis(self.now())
    }

    /// Returns how long ago `at` was by the server's clock.
    fn age(&self, at: SystemTime) -> Duration {
        self.now().duration_since(at).unwrap_or_default()
    }
}

/// Returns the result for a message that was carried. `note` is the answer to the request that noted its id as published.
pub(super) fn accepted(
    note: Option<Result<ServerMessage, Unanswered>>,
    position: Option<Position>,
) -> Accepted {
    Accepted {
        listeners: None,
        id_refused: note.and_then(|answer| jetstream::change(answer).err().map(Unanswered::reason)),
        position,
        unkept: None,
    }
}

/// Returns whether an id with this value may be claimed. JetStream keeps every value for the longest of their lifetimes.
fn is_free(value: &[u8], age: Duration) -> bool {
    value == RELEASED || (value == CLAIMED && age > UNANSWERED_LIFETIME)
}

fn key(id: &Uuid) -> String {
    id.simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_may_be_claimed() {
        let (short, long) = (
            Duration::from_secs(1),
            UNANSWERED_LIFETIME + Duration::from_secs(1),
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
    fn ages_by_the_servers_clock() {
        let said = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let clock = Clock {
            said,
            read: Instant::now(),
        };
        assert!(clock.age(said - Duration::from_secs(30)) >= Duration::from_secs(30));
        assert_eq!(clock.age(said + Duration::from_secs(30)), Duration::ZERO);
    }
}
