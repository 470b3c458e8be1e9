//! The journal in JetStream: one stream, whose own sequence numbers the messages of all audiences.
//!
//! A kept message is published into the stream, on a subject of the stream's name and the audience's usual subject. The stream republishes
//! the message on the usual subject, with its number and the number of the audience's message before it. Only the oldest messages of an
//! audience are removed: by a purge of those beyond its retention, and by the stream's limit of bytes.

mod reader;
mod reorder;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fanfare_cluster::transport::{
    Failed, Message, PublishError, Published, Subject,
    journal::{JournalStore, StoredReplay, Tops},
};
use fanfare_core::{
    Audience, BoxFuture,
    history::{Epoch, MAX_HISTORY_SIZE, MAX_HISTORY_TTL, Position, Retention},
    journal::ReplayQuery,
    locked,
};
use serde_json::{Value, json};

pub(super) use self::reorder::ReorderBuffer;
use super::{
    ids::{self, Ids},
    jetstream::{self, api},
    names::Names,
    protocol::{Publish, ServerMessage},
    requests::{Cached, RequestError, Requests},
};
use crate::journal_reads;

/// The stream's name, behind the prefix. Its subjects begin with both.
const STREAM: &str = "fanfare-journal";
/// The header with the journal's epoch.
const EPOCH: &str = "Fanfare-Epoch";
/// The header with the number of messages of the audience that are kept, and the milliseconds for which this message is kept.
const KEEP: &str = "Fanfare-Keep";
/// The most audiences whose messages are counted between purges.
const COUNTED: usize = 10_000;
/// The fewest messages between two purges of an audience by one node, and the fewest that a purge leaves.
const PURGE_EVERY: u32 = 64;

/// The journal on one connection.
pub(super) struct Journal {
    requests: Arc<Requests>,
    ids: Arc<Ids>,
    names: Names,
    stream: String,
    max_bytes: usize,
    epoch: Cached<Epoch>,
    /// The number of messages on each subject since its last purge.
    counts: Mutex<HashMap<String, u32>>,
}

/// Returns the name of the journal's stream.
pub(super) fn stream(names: &Names) -> String {
    names.bucket(STREAM)
}

/// Returns the number of a message that the journal called `stream` republished.
pub(super) fn number(stream: &str, message: &ServerMessage) -> Option<u64> {
    // JetStream writes these headers.
    (message.header("Nats-Stream")? == stream).then_some(())?;
    message.header("Nats-Sequence")?.parse().ok()
}

/// Returns the position of a message that the journal called `stream` republished.
pub(super) fn position(stream: &str, message: &ServerMessage) -> Option<Position> {
    let number = number(stream, message)?;
    let prev = message.header("Nats-Last-Sequence")?.parse().ok()?;
    let epoch = journal_reads::epoch(message.header(EPOCH)?)?;
    (prev < number).then_some(Position { epoch, number, prev })
}

impl Journal {
    pub(super) fn new(names: &Names, requests: Arc<Requests>, ids: Arc<Ids>, max_bytes: usize) -> Self {
        Self {
            requests,
            ids,
            stream: stream(names),
            names: names.clone(),
            max_bytes,
            epoch: Cached::default(),
            counts: Mutex::default(),
        }
    }

    /// Creates the stream if it is missing. Returns the epoch, which is the stream's time of creation.
    async fn epoch(&self) -> Result<Epoch, RequestError> {
        let create = async {
            let info = jetstream::create_stream(&self.requests, &self.stream, &self.config()).await?;
            Ok(epoch_of(info.created_at()?))
        };
        self.epoch.get(&self.requests, |_| true, create).await
    }

    fn config(&self) -> Value {
        json!({
            "name": self.stream,
            "subjects": [format!("{}.>", self.stream)],
            "storage": "file",
            "num_replicas": 1,
            "max_msgs_per_subject": MAX_HISTORY_SIZE,
            "max_bytes": self.max_bytes,
            "max_age": u64::try_from(MAX_HISTORY_TTL.as_nanos()).unwrap_or(u64::MAX),
            "discard": "old",
            "allow_direct": true,
            "republish": {
                "src": format!("{}.*.>", self.stream),
                "dest": "$1.>",
            },
        })
    }

    /// Returns the subject in the stream for `subject`.
    fn subject(&self, subject: &Subject) -> String {
        format!("{}.{}", self.stream, self.names.subject(subject))
    }

    /// Publishes `messages` into the stream. Returns the result of each, or the reason why the caller must publish it without the journal.
    pub(super) async fn publish(&self, messages: &[Message]) -> Vec<Result<Published, String>> {
        let epoch = match self.epoch().await {
            Ok(epoch) => epoch,
            Err(RequestError::Lost) => return vec![Ok(Err(PublishError::Lost)); messages.len()],
            Err(reason) => return vec![Err(reason.reason()); messages.len()],
        };
        let (mut out, mut open, mut id_requests) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            let Some(Retention { size, ttl }) = message.keep else {
                continue; // the caller passes only messages to keep
            };
            let request = Publish {
                subject: self.subject(&message.subject),
                headers: vec![
                    (EPOCH, format!("{:016x}", epoch.0)),
                    (KEEP, format!("{size} {}", ttl.as_millis())),
                ],
                payload: message.payload.clone(),
            };
            open.push(self.requests.write(&request, &mut out));
            if let Some(id) = message.id {
                id_requests.push(self.requests.write(&self.ids.published(&id), &mut out));
            }
        }
        let Ok(refusals) = self.requests.exchange.flush(out).await else {
            return vec![Ok(Err(PublishError::Lost)); messages.len()];
        };
        let kept = open.len();
        open.append(&mut id_requests);
        let mut replies = self.requests.replies(open, Some(&refusals)).await;
        let mut id_replies = replies.split_off(kept).into_iter();
        let published = messages.iter().zip(replies).map(|(message, reply)| {
            let id_reply = message.id.and_then(|_| id_replies.next());
            match jetstream::stored_sequence(reply) {
                Ok(Some(number)) => {
                    self.count(message);
                    // Only the republished message has the number of the audience's message before it.
                    let prev = number.saturating_sub(1);
                    let position = Position { epoch, number, prev };
                    Ok(Ok(ids::accepted(id_reply, Some(position))))
                }
                Ok(None) => Err(jetstream::not_understood().reason()),
                Err(RequestError::Lost) => Ok(Err(PublishError::Lost)),
                // JetStream may store it later.
                Err(stalled @ RequestError::Stalled) => Ok(Err(PublishError::Refused(stalled.reason()))),
                Err(reason) => Err(reason.reason()),
            }
        });
        published.collect()
    }

    /// Counts a stored message. After a number of messages of one audience, purges the messages beyond its retention.
    fn count(&self, message: &Message) {
        let Some(left) = message.keep.map(left_by_purge) else {
            return;
        };
        let subject = self.subject(&message.subject);
        {
            let mut counts = locked(&self.counts);
            if counts.len() >= COUNTED {
                counts.clear();
            }
            let count = counts.entry(subject.clone()).or_default();
            *count += 1;
            if *count < left {
                return;
            }
            *count = 0;
        }
        let purge = api(
            "STREAM.PURGE",
            &self.stream,
            &json!({"filter": subject, "keep": left}),
        );
        let requests = Arc::clone(&self.requests);
        // If this fails, the messages take some bytes until the next purge.
        tokio::spawn(async move { drop(requests.send_one(purge).await) });
    }
}

/// Returns the number of messages of an audience that a purge leaves. The message that caused the purge is among them: it later shows that
/// there was a purge.
fn left_by_purge(retention: Retention) -> u32 {
    retention.size.max(PURGE_EVERY)
}

/// Returns the epoch of a journal that was created at this time.
fn epoch_of(created: SystemTime) -> Epoch {
    let since = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Epoch(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns the retention of a stored message's audience.
fn retention(message: &ServerMessage) -> Option<Retention> {
    let (size, ttl) = message.header(KEEP)?.split_once(' ')?;
    Some(Retention {
        size: size.parse().ok()?,
        ttl: Duration::from_millis(ttl.parse().ok()?),
    })
}

impl JournalStore for Journal {
    fn read<'a>(&'a self, query: &'a ReplayQuery) -> BoxFuture<'a, Result<StoredReplay, Failed>> {
        Box::pin(journal_reads::read(self, query))
    }

    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>> {
        Box::pin(journal_reads::tops(self, audiences, behind))
    }
}
