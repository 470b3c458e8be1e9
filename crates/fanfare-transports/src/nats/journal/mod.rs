//! The journal in JetStream: one stream, whose own sequence numbers the messages of all audiences.
//!
//! A kept message is published into the stream, on the name of its audience behind the stream's own. The stream republishes it on the
//! audience's usual subject, with its number and the number before it of its subject. Only the first messages of an audience are ever
//! removed: by a purge of those beyond its retention, and by the stream's limit of bytes.

mod read;
mod window;

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

pub(super) use self::window::Window;
use super::{
    ids::{self, Ids},
    jetstream::{self, Answer, api},
    names::Names,
    protocol::{Publish, ServerMessage},
    questions::{Learned, Questions, Unanswered},
};

/// The stream's name, behind the prefix. Its subjects begin with both.
const STREAM: &str = "fanfare-journal";
/// The header with the journal's name.
const EPOCH: &str = "Fanfare-Epoch";
/// The header with how many messages of the audience are kept, and for how many milliseconds this one.
const KEEP: &str = "Fanfare-Keep";
/// The most audiences whose messages are counted.
const COUNTED: usize = 10_000;
/// The fewest messages between two purges of an audience by one node, and the fewest that a purge leaves.
const PURGE_EVERY: u32 = 64;

/// The journal on one connection.
pub(super) struct Journal {
    questions: Arc<Questions>,
    ids: Arc<Ids>,
    names: Names,
    stream: String,
    max_bytes: usize,
    epoch: Learned<Epoch>,
    /// The messages of each audience since the last purge.
    counts: Mutex<HashMap<String, u32>>,
}

/// Returns the name of the journal's stream.
pub(super) fn stream(names: &Names) -> String {
    names.bucket(STREAM)
}

/// Returns the number of a message that the journal called `stream` republished.
pub(super) fn number(stream: &str, message: &ServerMessage) -> Option<u64> {
    // Written by JetStream itself.
    (message.header("Nats-Stream")? == stream).then_some(())?;
    message.header("Nats-Sequence")?.parse().ok()
}

/// Returns the place of a message that the journal called `stream` republished.
pub(super) fn position(stream: &str, message: &ServerMessage) -> Option<Position> {
    let number = number(stream, message)?;
    let prev = message.header("Nats-Last-Sequence")?.parse().ok()?;
    let epoch = Epoch(u64::from_str_radix(message.header(EPOCH)?, 16).ok()?);
    (prev < number).then_some(Position { epoch, number, prev })
}

impl Journal {
    pub(super) fn new(names: &Names, questions: Arc<Questions>, ids: Arc<Ids>, max_bytes: usize) -> Self {
        Self {
            questions,
            ids,
            stream: stream(names),
            names: names.clone(),
            max_bytes,
            epoch: Learned::default(),
            counts: Mutex::default(),
        }
    }

    /// Creates the stream if it is missing. Returns the journal's name, which is the stream's time of creation.
    async fn epoch(&self) -> Result<Epoch, Unanswered> {
        let make = async {
            let made = jetstream::make(&self.questions, &self.stream, &self.config()).await?;
            Ok(epoch_of(made.made_at()?))
        };
        self.epoch.get(&self.questions, |_| true, make).await
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

    /// Publishes `messages` into the stream. Returns the result of each, or why the caller must publish it without keeping it.
    pub(super) async fn publish(&self, messages: &[Message]) -> Vec<Result<Published, String>> {
        let epoch = match self.epoch().await {
            Ok(epoch) => epoch,
            Err(Unanswered::Lost) => return vec![Ok(Err(PublishError::Lost)); messages.len()],
            Err(reason) => return vec![Err(reason.reason()); messages.len()],
        };
        let (mut out, mut asked, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            let Some(Retention { size, ttl }) = message.keep else {
                continue; // the caller keeps all of them
            };
            let request = Publish {
                subject: self.subject(&message.subject),
                headers: vec![
                    (EPOCH, format!("{:016x}", epoch.0)),
                    (KEEP, format!("{size} {}", ttl.as_millis())),
                ],
                payload: message.payload.clone(),
            };
            asked.push(self.questions.write(&request, &mut out));
            if let Some(id) = message.id {
                notes.push(self.questions.write(&self.ids.published(&id), &mut out));
            }
        }
        let Ok(refusals) = self.questions.exchange.carry_out(out).await else {
            return vec![Ok(Err(PublishError::Lost)); messages.len()];
        };
        let kept = asked.len();
        asked.append(&mut notes);
        let mut answers = self.questions.answers_to(asked, Some(&refusals)).await;
        let mut notes = answers.split_off(kept).into_iter();
        let published = messages.iter().zip(answers).map(|(message, answer)| {
            let note = message.id.and_then(|_| notes.next());
            match jetstream::change(answer) {
                Ok(Some(number)) => {
                    self.count(message);
                    // The number before it of its audience is only in what is republished.
                    let prev = number.saturating_sub(1);
                    let position = Position { epoch, number, prev };
                    Ok(Ok(ids::accepted(note, Some(position))))
                }
                Ok(None) => Err(jetstream::not_understood().reason()),
                Err(Unanswered::Lost) => Ok(Err(PublishError::Lost)),
                // It may be stored later.
                Err(stalled @ Unanswered::Stalled) => Ok(Err(PublishError::Refused(stalled.reason()))),
                Err(reason) => Err(reason.reason()),
            }
        });
        published.collect()
    }

    /// Counts a stored message. After a number of messages of one audience, purges those beyond its retention.
    fn count(&self, message: &Message) {
        let Some(left) = message.keep.map(purged_to) else {
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
        let questions = Arc::clone(&self.questions);
        // If this fails, the messages take some bytes until the next purge.
        tokio::spawn(async move { drop(questions.ask_one(purge).await) });
    }
}

/// Returns how many messages of an audience a purge leaves. It leaves the message that caused it, which later shows that there was a
/// purge.
fn purged_to(retention: Retention) -> u32 {
    retention.size.max(PURGE_EVERY)
}

/// Returns the name of a journal that was created at this time.
fn epoch_of(made: SystemTime) -> Epoch {
    let since = made.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
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
        Box::pin(crate::journal_reads::read(self, query))
    }

    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>> {
        Box::pin(crate::journal_reads::tops(self, audiences, behind))
    }
}
