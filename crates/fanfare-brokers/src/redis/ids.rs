//! The ids that the cluster remembers: a key each in Redis, and beside it this node's own memory, by which it goes while
//! Redis is away.
//!
//! Whoever claims an id has it alone. Only what comes on `fanfare:events` is claimed by every node that hears it, and
//! for all of them together: the key's value then says so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fanfare_core::{CLAIM_LIFETIME, Claim, Reach, Receipt, UNANSWERED_LIFETIME};
use redis::{Cmd, Pipeline, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Shared;

/// A claimed id's key; the id follows, without hyphens. Its value is empty until the event is published, and so long its
/// life is short: a node that died between the two must not keep the id from those who try again.
///
/// Redis keeps an id in 161 bytes: a key of up to 44 bytes and a value of up to 12 are the smallest that it allocates.
const KEY: &str = "fanfare:id:";
/// Stands before a receipt.
const RECEIPT: u8 = b'=';
/// The value of an id that was published, until its receipt is stored.
const PUBLISHED: &[u8] = b"+";
/// The value of an id that was claimed by all nodes that received it from Redis.
const HEARD: &[u8] = b"!";
/// How much older a claim must be than a node's listening for the node to have missed what it was made for. Redis
/// counts milliseconds, by a clock of its own.
const SLACK: Duration = Duration::from_millis(20);
/// Commands in one pipeline.
const PIPELINE: usize = 512;
/// How often an id is claimed that is taken at one moment and gone at the next.
const ATTEMPTS: usize = 3;

/// What Redis says of an id; `None` when it is not known.
type Said = Option<Claim>;

/// An id that came on `fanfare:events`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) id: Uuid,
    /// No later than the beginning of the connection that brought it.
    pub(super) listening_since: Instant,
}

/// Claims `ids` and sends what came of it to `claims`; if nobody waits there any more, they are released.
pub(super) async fn claim(shared: Arc<Shared>, ids: Vec<Uuid>, claims: oneshot::Sender<Vec<Claim>>) {
    let said = ask(&shared, &ids).await;
    let mut claimed = Vec::with_capacity(ids.len());
    let mut unsaid = Vec::new();
    for (&id, said) in ids.iter().zip(&said) {
        let claim = shared.ids.claim_after(id, *said);
        if let (Some(Claim::New | Claim::Taken), Claim::Published(Some(receipt))) = (said, claim) {
            unsaid.push((id, receipt));
        }
        claimed.push(claim);
    }
    if !unsaid.is_empty() {
        // Redis was away when these receipts were stored.
        write(&shared, &unsaid).await;
    }
    if let Err(claimed) = claims.send(claimed) {
        let new = ids.into_iter().zip(claimed);
        let new = new.filter_map(|(id, claim)| (claim == Claim::New).then_some(id));
        release(&shared, new.collect()).await;
    }
}

/// Claims ids together with all nodes that heard them; answers for each whether it is new. Of an id that stands there
/// twice the first is.
pub(super) async fn hear(shared: &Shared, heard: &[Heard]) -> Vec<bool> {
    let mut are_new = Vec::with_capacity(heard.len());
    for some in heard.chunks(PIPELINE) {
        let said = hear_some(shared, some).await;
        are_new.extend(some.iter().zip(said).map(|(&Heard { id, .. }, said)| {
            let is_new = shared.ids.claim_after(id, said) == Claim::New;
            if is_new {
                shared.ids.record(id, &Receipt::default());
            }
            is_new
        }));
    }
    are_new
}

async fn hear_some(shared: &Shared, heard: &[Heard]) -> Vec<Said> {
    let commands = heard.iter().flat_map(|Heard { id, .. }| {
        let set = claim_as(id, HEARD, CLAIM_LIFETIME);
        [set, key("GET", id), key("PTTL", id)]
    });
    let answers = send(shared, commands).await;
    let mut said = vec![None; heard.len()];
    for ((said, heard), answers) in said.iter_mut().zip(heard).zip(answers.chunks(3)) {
        if let [set, value, left] = answers {
            *said = meaning(set, value, left, heard.listening_since.elapsed());
        }
    }
    said
}

/// What Redis' answers mean to a node that has been listening for that long.
fn meaning(set: &Value, value: &Value, left: &Value, listening: Duration) -> Said {
    match (set, value) {
        (Value::Okay, _) => Some(Claim::New),
        (Value::Nil, Value::BulkString(value)) if value == HEARD => {
            let Value::Int(left) = left else { return None };
            let left = Duration::from_millis(u64::try_from(*left).ok()?);
            // A node that was listening then heard the same message, and had it been another it would know the id.
            let was_missed = CLAIM_LIFETIME.saturating_sub(left) > listening + SLACK;
            Some(if was_missed { state_in(value) } else { Claim::New })
        }
        (Value::Nil, Value::BulkString(value)) => Some(state_in(value)),
        _ => None,
    }
}

/// Stores receipts in Redis, for ids that it remembers.
pub(super) async fn write(shared: &Shared, receipts: &[(Uuid, Receipt)]) {
    for some in receipts.chunks(PIPELINE) {
        let commands = some.iter().map(|(id, receipt)| {
            let value = format!("{}{}", char::from(RECEIPT), receipt_text(receipt));
            let mut set = set_for(id, value.as_bytes(), CLAIM_LIFETIME);
            set.arg("XX");
            set
        });
        send(shared, commands).await;
    }
}

/// What notes in Redis that `id` has been published, until its receipt is stored. It belongs right behind the `PUBLISH`, so
/// that a process that ends does not come in between: what it has published nobody publishes in its place.
pub(super) fn published(id: &Uuid) -> Cmd {
    let mut set = set_for(id, PUBLISHED, CLAIM_LIFETIME);
    set.arg("XX");
    set
}

/// Gives back `ids`.
pub(super) async fn release(shared: &Shared, ids: Vec<Uuid>) {
    // Here first: else a claim between the two would be new to Redis and known here, and so taken for ever.
    for &id in &ids {
        shared.ids.release(id);
    }
    for ids in ids.chunks(PIPELINE) {
        send(shared, ids.iter().map(|id| key("DEL", id))).await;
    }
}

/// Claims `ids` in Redis.
async fn ask(shared: &Shared, ids: &[Uuid]) -> Vec<Said> {
    let mut said = vec![None; ids.len()];
    let mut open: Vec<usize> = (0..ids.len()).collect();
    for _ in 0..ATTEMPTS {
        let mut gone = Vec::new();
        for open in open.chunks(PIPELINE) {
            gone.extend(ask_some(shared, ids, open, &mut said).await);
        }
        open = gone;
    }
    said
}

/// Claims those of `ids` that stand at `open`; answers where some were taken and then gone.
async fn ask_some(shared: &Shared, ids: &[Uuid], open: &[usize], said: &mut [Said]) -> Vec<usize> {
    let claims = open
        .iter()
        .map(|&at| claim_as(&ids[at], b"", UNANSWERED_LIFETIME));
    let answers = send(shared, claims).await;
    let mut taken = Vec::new();
    for (&at, answer) in open.iter().zip(answers) {
        match answer {
            Value::Okay => said[at] = Some(Claim::New),
            Value::Nil => {
                said[at] = Some(Claim::Taken);
                taken.push(at);
            }
            _ => said[at] = None,
        }
    }
    let mut gone = Vec::new();
    let answers = send(shared, taken.iter().map(|&at| key("GET", &ids[at]))).await;
    for (&at, answer) in taken.iter().zip(answers) {
        match answer {
            Value::BulkString(value) => said[at] = Some(state_in(&value)),
            Value::Nil => gone.push(at),
            _ => {}
        }
    }
    gone
}

/// Redis' answers, one for each command, or none at all.
async fn send(shared: &Shared, commands: impl Iterator<Item = Cmd>) -> Vec<Value> {
    let mut pipe = Pipeline::new();
    let mut count = 0;
    for command in commands {
        pipe.add_command(command);
        count += 1;
    }
    if count == 0 {
        return Vec::new();
    }
    let answers = shared.link.send(&pipe, count).await.unwrap_or_default();
    let refused = answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(shared.address.answered(error.code(), error.details())),
        _ => None,
    });
    if let Some(error) = refused {
        shared.status.ids_refused(&error);
    }
    answers
}

/// What the value of a claimed id's key means. A value that no node of this version wrote means that the event was
/// published: an id is never published twice because of it.
fn state_in(value: &[u8]) -> Claim {
    match value.split_first() {
        None => Claim::Taken,
        Some((&RECEIPT, receipt)) => Claim::Published(receipt_in(receipt)),
        Some(_) => Claim::Published((value == HEARD).then(Receipt::default)),
    }
}

/// A receipt as Redis keeps it: `queued,matched,dropped,nodes`, and `,degraded` where it is.
fn receipt_text(receipt: &Receipt) -> String {
    let Receipt {
        reach,
        nodes,
        degraded,
    } = receipt;
    let Reach {
        matched,
        queued,
        dropped,
    } = reach;
    let degraded = if *degraded { ",degraded" } else { "" };
    format!("{queued},{matched},{dropped},{nodes}{degraded}")
}

fn receipt_in(text: &[u8]) -> Option<Receipt> {
    let mut parts = std::str::from_utf8(text).ok()?.split(',');
    let mut count = || parts.next()?.parse().ok();
    let (queued, matched, dropped) = (count()?, count()?, count()?);
    Some(Receipt {
        reach: Reach {
            matched,
            queued,
            dropped,
        },
        nodes: u32::try_from(count()?).ok()?,
        degraded: parts.next() == Some("degraded"),
    })
}

/// Sets an id's key to `value`, unless it is there.
fn claim_as(id: &Uuid, value: &[u8], lifetime: Duration) -> Cmd {
    let mut set = set_for(id, value, lifetime);
    set.arg("NX");
    set
}

/// Sets an id's key to `value` for that long.
fn set_for(id: &Uuid, value: &[u8], lifetime: Duration) -> Cmd {
    let mut set = key("SET", id);
    let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
    set.arg(value).arg("PX").arg(lifetime);
    set
}

fn key(command: &str, id: &Uuid) -> Cmd {
    let mut cmd = redis::cmd(command);
    cmd.arg(format!("{KEY}{}", id.simple()));
    cmd
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use super::*;

    const UNKNOWN: Said = None;
    const NEW: Said = Some(Claim::New);
    const TAKEN: Said = Some(Claim::Taken);

    fn published(queued: u64) -> Said {
        let reach = Reach {
            matched: queued,
            queued,
            dropped: 0,
        };
        let nodes = u32::from(queued > 0);
        Some(Claim::Published(Some(Receipt {
            reach,
            nodes,
            degraded: false,
        })))
    }

    fn text(value: &str) -> Value {
        Value::BulkString(value.as_bytes().to_vec())
    }

    #[test]
    fn what_redis_says_of_an_id_that_was_heard() {
        let lifetime = i64::try_from(CLAIM_LIFETIME.as_millis()).unwrap_or(0);
        let claimed_ago = |milliseconds: i64| Value::Int(lifetime - milliseconds);
        let listening = Duration::from_secs(10);
        let cases = [
            (Value::Okay, text("!"), claimed_ago(0), NEW),
            // Other nodes have heard the same.
            (Value::Nil, text("!"), claimed_ago(0), NEW),
            (Value::Nil, text("!"), claimed_ago(10_000), NEW),
            // They have heard it when this one was not listening yet.
            (Value::Nil, text("!"), claimed_ago(10_100), published(0)),
            (Value::Nil, text("!"), Value::Int(1), published(0)),
            // Another node has claimed it alone.
            (Value::Nil, text(""), claimed_ago(1), TAKEN),
            (
                Value::Nil,
                text("+"),
                claimed_ago(1),
                Some(Claim::Published(None)),
            ),
            (Value::Nil, text("=5,5,0,1"), claimed_ago(1), published(5)),
            (
                Value::Nil,
                text("=x"),
                claimed_ago(1),
                Some(Claim::Published(None)),
            ),
            (
                Value::Nil,
                text("?"),
                claimed_ago(1),
                Some(Claim::Published(None)),
            ),
            // It went just now; or Redis would not say.
            (Value::Nil, Value::Nil, Value::Int(-2), UNKNOWN),
            (Value::Nil, text("!"), Value::Int(-2), UNKNOWN),
            (Value::Nil, text("!"), Value::Nil, UNKNOWN),
            (Value::Int(1), text("=5,5,0,1"), claimed_ago(1), UNKNOWN),
        ];
        for (number, (set, value, left, said)) in cases.into_iter().enumerate() {
            assert_eq!(meaning(&set, &value, &left, listening), said, "case {number}");
        }
    }

    #[test]
    fn receipts_in_redis() {
        for (degraded, text) in [(false, "2,3,1,4"), (true, "2,3,1,4,degraded")] {
            let receipt = Receipt {
                reach: Reach {
                    matched: 3,
                    queued: 2,
                    dropped: 1,
                },
                nodes: 4,
                degraded,
            };
            assert_eq!(receipt_text(&receipt), text);
            assert_eq!(receipt_in(text.as_bytes()), Some(receipt));
        }
        for bad in [
            "",
            "1",
            "1,1,1",
            "1,1,1,x",
            "1,1,1,4294967296",
            "-1,1,1,1",
            "\u{e9}",
        ] {
            assert_eq!(receipt_in(bad.as_bytes()), None, "{bad}");
        }
    }
}
