//! The ids that the cluster remembers: a key each in Redis, and beside it this node's own memory, by which it goes while
//! Redis is away.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{CLAIM_LIFETIME, Claim};
use redis::{Cmd, Pipeline, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Shared;

/// A claimed id's key; the id follows. Its value is empty until an answer is stored.
const KEY: &str = "fanfare:id:";
/// Stands before an answer, which may be empty itself.
const ANSWER: u8 = b'=';
/// Commands in one pipeline, and bytes of answers.
const PIPELINE: usize = 512;
const PIPELINE_BYTES: usize = 1 << 20;
/// How often an id is claimed that is taken at one moment and gone at the next.
const ATTEMPTS: usize = 3;

/// What Redis says of an id; `None` when it is not known.
type Said = Option<Claim>;

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
            let mut set = key("SET", id);
            set.arg(value).arg("XX").arg("KEEPTTL");
            set
        });
        send(shared, commands).await;
        rest = later;
    }
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
    let lifetime = CLAIM_LIFETIME.as_millis().to_string();
    let claims = open.iter().map(|&at| {
        let mut set = key("SET", &ids[at]);
        set.arg("").arg("NX").arg("PX").arg(&lifetime);
        set
    });
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
            Value::BulkString(value) if value.first() == Some(&ANSWER) => {
                said[at] = Some(Claim::Known(Some(Bytes::from(value).slice(1..))));
            }
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
    shared.link.send(&pipe, count).await.unwrap_or_default()
}

fn key(command: &str, id: &Uuid) -> Cmd {
    let mut cmd = redis::cmd(command);
    cmd.arg(format!("{KEY}{id}"));
    cmd
}
