//! The ids that the cluster remembers: a key each in Redis, and beside it this node's own memory, by which it goes while
//! Redis is away.
//!
//! Whoever claims an id has it alone. Only what comes on `fanfare:events` is claimed by every node that hears it, and
//! for all of them together: the key's value then says so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanfare_core::{ANSWER_TO_COME, CLAIM_LIFETIME, Claim, UNANSWERED, UNANSWERED_LIFETIME};
use redis::{Cmd, Pipeline, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Shared;

/// A claimed id's key; the id follows. Its value is empty until an answer is stored, and so long its life is short: a node
/// that died between the two must not keep the id from those who try again.
const KEY: &str = "fanfare:id:";
/// Stands before an answer, which may be empty itself.
const ANSWER: u8 = b'=';
/// The value where it was claimed by the nodes that heard it.
const HEARD: &[u8] = b"!";
/// How much older a claim must be than a node's listening for the node to have missed what it was made for. Redis
/// counts milliseconds, by a clock of its own.
const SLACK: Duration = Duration::from_millis(20);
/// Commands in one pipeline, and bytes of answers.
const PIPELINE: usize = 512;
const PIPELINE_BYTES: usize = 1 << 20;
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
        let claim = shared.ids.claim_after(id, said.as_ref());
        if let (Some(Claim::New | Claim::Known(None)), Claim::Known(Some(answer))) = (said, &claim) {
            unsaid.push((id, answer.clone()));
        }
        claimed.push(claim);
    }
    if !unsaid.is_empty() {
        // Redis was away when these answers were stored.
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
            let is_new = shared.ids.claim_after(id, said.as_ref()) == Claim::New;
            if is_new {
                shared.ids.record(id, UNANSWERED);
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
            Some(if was_missed {
                Claim::Known(Some(UNANSWERED))
            } else {
                Claim::New
            })
        }
        (Value::Nil, Value::BulkString(value)) => Some(Claim::Known(answer_in(value))),
        _ => None,
    }
}

/// Stores answers in Redis, for ids that it remembers.
pub(super) async fn write(shared: &Shared, answers: &[(Uuid, Bytes)]) {
    let mut rest = answers;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(PIPELINE).take_while(|(_, answer)| {
            let fits = bytes == 0 || bytes + answer.len() <= PIPELINE_BYTES;
            bytes += answer.len().max(1);
            fits
        });
        let (now, later) = rest.split_at(fitting.count());
        let commands = now.iter().map(|(id, answer)| {
            let mut value = Vec::with_capacity(answer.len() + 1);
            value.push(ANSWER);
            value.extend_from_slice(answer);
            let mut set = set_for(id, &value, CLAIM_LIFETIME);
            set.arg("XX");
            set
        });
        send(shared, commands).await;
        rest = later;
    }
}

/// What notes in Redis that `id` has been published, until its answer is stored. It belongs right behind the `PUBLISH`, so
/// that a process that ends does not come in between: what it has published nobody publishes in its place.
pub(super) fn published(id: &Uuid) -> Cmd {
    let mut set = set_for(id, &[&[ANSWER], &ANSWER_TO_COME[..]].concat(), CLAIM_LIFETIME);
    set.arg("XX");
    set
}

/// Gives back `ids`.
pub(super) async fn release(shared: &Shared, ids: Vec<Uuid>) {
    // Here first: else a claim between the two would be new to Redis and known here, and so taken for ever.
    for id in &ids {
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
                said[at] = Some(Claim::Known(None));
                taken.push(at);
            }
            _ => said[at] = None,
        }
    }
    let mut gone = Vec::new();
    let answers = send(shared, taken.iter().map(|&at| key("GET", &ids[at]))).await;
    for (&at, answer) in taken.iter().zip(answers) {
        match answer {
            Value::BulkString(value) => said[at] = Some(Claim::Known(answer_in(&value))),
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

/// The answer in a key's value, if there is one yet.
fn answer_in(value: &[u8]) -> Option<Bytes> {
    match value.split_first() {
        Some((&ANSWER, answer)) => Some(Bytes::copy_from_slice(answer)),
        _ => (value == HEARD).then_some(UNANSWERED),
    }
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
    cmd.arg(format!("{KEY}{id}"));
    cmd
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use super::*;

    const UNKNOWN: Said = None;
    const NEW: Said = Some(Claim::New);

    fn known(answer: &'static str) -> Said {
        Some(Claim::Known(Some(Bytes::from_static(answer.as_bytes()))))
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
            (Value::Nil, text("!"), claimed_ago(10_100), known("")),
            (Value::Nil, text("!"), Value::Int(1), known("")),
            // Somebody has published it alone.
            (Value::Nil, text(""), claimed_ago(1), Some(Claim::Known(None))),
            (Value::Nil, text("=5"), claimed_ago(1), known("5")),
            (Value::Nil, text("="), claimed_ago(1), known("")),
            (Value::Nil, text("=!"), claimed_ago(1), known("!")),
            // It went just now; or Redis would not say.
            (Value::Nil, Value::Nil, Value::Int(-2), UNKNOWN),
            (Value::Nil, text("!"), Value::Int(-2), UNKNOWN),
            (Value::Nil, text("!"), Value::Nil, UNKNOWN),
            (Value::Int(1), text("=5"), claimed_ago(1), UNKNOWN),
        ];
        for (number, (set, value, left, said)) in cases.into_iter().enumerate() {
            assert_eq!(meaning(&set, &value, &left, listening), said, "case {number}");
        }
    }
}
