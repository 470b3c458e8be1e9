//! Idempotency keys in Redis: one Redis key for each, claimed by a script.

use std::time::Duration;

use fanfare_cluster::transport::{IdStore, Stored, WantedId};
use fanfare_core::{BoxFuture, CLAIM_LIFETIME, Claim, Receipt, UNPUBLISHED_LIFETIME, millis};
use redis::{Cmd, Pipeline, Value};
use uuid::Uuid;

use super::{Connection, read};
use crate::id_values::{self, CLAIMED, PUBLISHED, TOGETHER};

// Until the event is published, a key's value is empty and its lifetime is short: a node that dies in between must not block the id for
// other publishers. Redis stores an id in 161 bytes: a key of up to 44 bytes and a value of up to 12 are the smallest that it allocates.

/// The most ids in one command, and commands in one pipeline: events travel between two pipelines.
const BATCH: usize = 512;

/// Claims each key. Returns 1 for a key that is new, else its value and its remaining lifetime.
const CLAIM: &str = "local claims = {} \
     for at, key in ipairs(KEYS) do \
     if redis.call('SET', key, ARGV[1], 'PX', ARGV[2], 'NX') then claims[at] = 1 \
     else claims[at] = {redis.call('GET', key), redis.call('PTTL', key)} end \
     end return claims";

impl IdStore for Connection {
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>> {
        Box::pin(self.claims(ids))
    }

    fn settle<'a>(&'a self, receipts: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let commands = receipts
                .iter()
                .map(|(id, receipt)| self.set_existing(id, &id_values::settled(receipt)));
            self.execute(commands.collect()).await.map(drop)
        })
    }

    fn release<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(async move {
            let keys = ids
                .iter()
                .map(|id| redis::cmd("DEL").arg(self.names.id(id)).to_owned());
            self.execute(keys.collect()).await.map(drop)
        })
    }
}

impl Connection {
    /// Returns the command that notes that `id` was published, until its receipt is stored.
    pub(super) fn published_id(&self, id: &Uuid) -> Cmd {
        self.set_existing(id, PUBLISHED)
    }

    /// Returns the command that sets an id's key to `value`, if the key exists.
    fn set_existing(&self, id: &Uuid, value: &[u8]) -> Cmd {
        let mut set = redis::cmd("SET");
        set.arg(self.names.id(id)).arg(value);
        set.arg("PX").arg(millis(CLAIM_LIFETIME)).arg("XX");
        set
    }

    async fn claims(&self, ids: &[WantedId]) -> Stored<Vec<Option<Claim>>> {
        let arrived = ids.first().is_some_and(|wanted| wanted.receiving_since.is_some());
        let (value, lifetime) = if arrived {
            (TOGETHER, CLAIM_LIFETIME)
        } else {
            (CLAIMED, UNPUBLISHED_LIFETIME)
        };
        let commands = ids.chunks(BATCH).map(|ids| {
            let keys: Vec<String> = ids.iter().map(|wanted| self.names.id(&wanted.id)).collect();
            let mut eval = redis::cmd("EVAL");
            eval.arg(CLAIM).arg(keys.len()).arg(keys);
            eval.arg(value).arg(millis(lifetime)).to_owned()
        });
        let answers = self.execute(commands.collect()).await;
        answers.map(|answers| {
            let answers = answers.into_iter().zip(ids.chunks(BATCH));
            let claims = answers.flat_map(|(answer, ids)| {
                let claims = match answer {
                    Value::Array(claims) if claims.len() == ids.len() => claims,
                    _ => vec![Value::Nil; ids.len()],
                };
                claims.into_iter().zip(ids).map(|(answer, wanted)| {
                    claim(&answer, wanted.receiving_since.map(|since| since.elapsed()))
                })
            });
            claims.collect()
        })
    }

    /// Executes `commands` in batches. Returns one answer for each, until the connection is lost.
    pub(super) async fn execute(&self, commands: Vec<Cmd>) -> Stored<Vec<Value>> {
        let mut stored = Stored::<Vec<Value>>::default();
        for some in commands.chunks(BATCH) {
            let mut pipe = Pipeline::with_capacity(some.len());
            for command in some {
                pipe.add_command(command.clone());
            }
            let Some(mut answers) = self.send(&pipe).await else {
                stored.lost = true;
                return stored;
            };
            self.servers.follow(some, &mut answers).await;
            let refused = answers.iter().find_map(|answer| self.refusal(answer));
            stored.refused = refused.or(stored.refused);
            stored.value.extend(answers);
        }
        stored
    }
}

/// Reads the script's answer for one id; `receiving` as in [`id_values::claim`].
fn claim(answer: &Value, receiving: Option<Duration>) -> Option<Claim> {
    if *answer == Value::Int(1) {
        return Some(Claim::New);
    }
    let (value, left): (Vec<u8>, i64) = read(answer)?;
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    Some(id_values::claim(
        &value,
        CLAIM_LIFETIME.saturating_sub(left),
        receiving,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use fanfare_core::Reach;

    use super::*;

    fn published(queued: u64) -> Option<Claim> {
        let reach = Reach {
            matched: queued,
            queued,
            dropped: 0,
        };
        let nodes = u32::from(queued > 0);
        Some(Claim::Published(Some(Receipt {
            reach,
            nodes,
            ..Receipt::default()
        })))
    }

    #[test]
    fn claims_are_read_from_answers() {
        let lifetime = i64::try_from(CLAIM_LIFETIME.as_millis()).unwrap_or(0);
        let state = |value: &str, age: i64| {
            let value = Value::BulkString(value.as_bytes().to_vec());
            Value::Array(vec![value, Value::Int(lifetime - age)])
        };
        let (alone, together) = (None, Some(Duration::from_secs(10)));
        let cases = [
            (Value::Int(1), alone, Some(Claim::New)),
            (Value::Int(1), together, Some(Claim::New)),
            (state("", 1), alone, Some(Claim::Taken)),
            (state("", 1), together, Some(Claim::Taken)),
            // Other nodes have received the same message.
            (state("!", 0), together, Some(Claim::New)),
            (state("!", 10_000), together, Some(Claim::New)),
            (state("!", 1), alone, published(0)),
            // They received it before this node was receiving.
            (state("!", 10_100), together, published(0)),
            (state("!", lifetime - 1), together, published(0)),
            (state("+", 1), together, Some(Claim::Published(None))),
            (state("=5,5,0,1", 1), alone, published(5)),
            (state("=5,5,0,1", 1), together, published(5)),
            (state("=x", 1), together, Some(Claim::Published(None))),
            (state("?", 1), together, Some(Claim::Published(None))),
            // Redis refused.
            (Value::Nil, together, None),
            (Value::Array(Vec::new()), alone, None),
            (Value::Int(2), alone, None),
        ];
        for (number, (answer, receiving, expected)) in cases.into_iter().enumerate() {
            assert_eq!(claim(&answer, receiving), expected, "case {number}");
        }
    }
}
