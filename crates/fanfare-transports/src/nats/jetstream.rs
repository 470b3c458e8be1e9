//! Buckets of keys in JetStream: a stream that keeps the last message on each subject, changed by comparing sequence numbers.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    protocol::{Publish, ServerMessage},
    questions::{Questions, Unanswered},
};

/// The longest window for duplicates; JetStream refuses one that is longer than messages live.
const DUPLICATES: Duration = Duration::from_secs(120);
/// The error if the stream exists with another configuration.
const NAME_IN_USE: u32 = 10_058;
/// The errors of a server, and of an account, without JetStream.
const NOT_ENABLED: [u32; 2] = [10_076, 10_039];
/// The error of a change that expects another last change.
const WRONG_SEQUENCE: u32 = 10_071;

/// The creation time of a stream that another node's request is still creating.
const BEING_MADE: &str = "0001-01-01T00:00:00Z";
/// How often, and after what time, the server is asked again then.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A bucket of keys.
pub(super) struct Bucket {
    stream: String,
    /// The prefix of each key.
    subject: String,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredValue {
    pub(super) value: Bytes,
    /// The number of the change; numbers grow.
    pub(super) sequence: u64,
    /// When it was stored, by the server's clock.
    pub(super) at: SystemTime,
}

/// An answer of JetStream, which has some of these fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    seq: u64,
    error: Option<ApiError>,
    created: String,
    config: Config,
    pub(super) state: StreamState,
    total: usize,
}

impl Answer {
    /// Returns when the stream was created.
    ///
    /// # Errors
    /// If the answer has no such time.
    pub(super) fn made_at(&self) -> Result<SystemTime, Unanswered> {
        humantime::parse_rfc3339(&self.created).map_err(|_| not_understood())
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// If it is an error, or not understood.
    pub(super) fn read(answer: &ServerMessage) -> Result<Self, Unanswered> {
        let mut answer = read(answer)?;
        match answer.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    republish: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamState {
    pub(super) subjects: Option<HashMap<String, u64>>,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) num_subjects: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiError {
    err_code: u32,
    description: String,
}

impl Bucket {
    /// The bucket called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            stream: format!("KV_{name}"),
            subject: format!("$KV.{name}."),
        }
    }

    /// Creates the bucket if it is missing. An existing one is used as an administrator configured it. Its values live for `lifetime`, or
    /// for ever; with `republish`, the headers of changes below the first of the two names are published below the second.
    /// Returns when it was created.
    ///
    /// # Errors
    /// If it is missing and cannot be created, or does not republish.
    pub(super) async fn create(
        &self,
        questions: &Questions,
        lifetime: Option<Duration>,
        republish: Option<(&str, &str)>,
    ) -> Result<SystemTime, Unanswered> {
        let mut config = json!({
            "name": self.stream,
            "subjects": [format!("{}>", self.subject)],
            "storage": "file",
            "num_replicas": 1,
            "max_msgs_per_subject": 1,
            "max_age": nanoseconds(lifetime.unwrap_or_default()),
            "duplicate_window": nanoseconds(lifetime.unwrap_or(DUPLICATES).min(DUPLICATES)),
            "discard": "new",
            "allow_direct": true,
        });
        if let Some((below, to)) = republish {
            let source = format!("{}{below}.>", self.subject);
            config["republish"] = json!({"src": source, "dest": format!("{to}.>"), "headers_only": true});
        }
        make(questions, &self.stream, &config).await?.made_at()
    }

    /// Returns the keys that begin with `start`, which ends at a dot.
    pub(super) async fn keys(&self, questions: &Questions, start: &str) -> Result<Vec<String>, Unanswered> {
        let (filter, mut keys) = (format!("{}{start}>", self.subject), Vec::new());
        subjects(questions, &self.stream, &filter, |subject| {
            keys.extend(subject.strip_prefix(&self.subject).map(str::to_owned));
        })
        .await?;
        Ok(keys)
    }

    /// Returns the request that deletes the change of this number, if it still exists.
    pub(super) fn delete(&self, sequence: u64) -> Publish {
        let question = json!({"seq": sequence, "no_erase": true});
        api("STREAM.MSG.DELETE", &self.stream, &question)
    }

    /// Returns the request that stores `value` for `key`, if its last change is the `expected` one; 0 stands for none.
    pub(super) fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Publish {
        Publish {
            subject: format!("{}{key}", self.subject),
            headers: expected
                .map(|sequence| ("Nats-Expected-Last-Subject-Sequence", sequence.to_string()))
                .into_iter()
                .collect(),
            payload: value,
        }
    }

    /// Returns the request for the value of `key`.
    pub(super) fn get(&self, key: &str) -> Publish {
        last(&self.stream, &format!("{}{key}", self.subject))
    }
}

/// Returns the request `what` about a stream.
pub(super) fn api(what: &str, stream: &str, question: &Value) -> Publish {
    Publish {
        subject: format!("$JS.API.{what}.{stream}"),
        headers: Vec::new(),
        payload: question.to_string().into(),
    }
}

/// Returns the request for the last message on `subject` in a stream.
pub(super) fn last(stream: &str, subject: &str) -> Publish {
    Publish {
        subject: format!("$JS.API.DIRECT.GET.{stream}.{subject}"),
        headers: Vec::new(),
        payload: Bytes::new(),
    }
}

/// Calls `take` with each subject in a stream that matches `filter`.
///
/// # Errors
/// If JetStream does not return all of them.
pub(super) async fn subjects(
    questions: &Questions,
    stream: &str,
    filter: &str,
    mut take: impl FnMut(&str),
) -> Result<(), Unanswered> {
    let mut seen = 0;
    loop {
        let question = json!({"subjects_filter": filter, "offset": seen});
        let answer = Answer::read(&questions.ask_one(api("STREAM.INFO", stream, &question)).await?)?;
        let subjects = answer.state.subjects.unwrap_or_default();
        seen += subjects.len();
        for subject in subjects.keys() {
            take(subject);
        }
        if subjects.is_empty() || seen >= answer.total {
            return Ok(());
        }
    }
}

/// Creates the stream if it is missing. An existing one is used with its own configuration.
///
/// # Errors
/// If it is missing and cannot be created, or does not republish as in `config`.
pub(super) async fn make(questions: &Questions, stream: &str, config: &Value) -> Result<Answer, Unanswered> {
    let info = async || read(&questions.ask_one(api("STREAM.INFO", stream, &json!({}))).await?);
    let mut made = read(&questions.ask_one(api("STREAM.CREATE", stream, config)).await?)?;
    if made
        .error
        .as_ref()
        .is_some_and(|error| error.err_code == NAME_IN_USE)
    {
        made = info().await?;
    }
    for _ in 0..ATTEMPTS {
        if made.created != BEING_MADE {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        made = info().await?;
    }
    if let Some(error) = made.error {
        return Err(error.into());
    }
    if config
        .get("republish")
        .is_some_and(|republish| made.config.republish != *republish)
    {
        let text = format!("the stream {stream} does not republish as it should");
        return Err(Unanswered::Refused(text));
    }
    Ok(made)
}

/// Returns the number of a change that JetStream stored; `None` if the last change was not the expected one.
///
/// # Errors
/// If it was refused.
pub(super) fn change(answer: Result<ServerMessage, Unanswered>) -> Result<Option<u64>, Unanswered> {
    let Answer { seq, error, .. } = read(&answer?)?;
    match error {
        None => Ok(Some(seq)),
        Some(error) if error.err_code == WRONG_SEQUENCE => Ok(None),
        Some(error) => Err(error.into()),
    }
}

/// Returns the value that was asked for; `None` if there is none.
///
/// # Errors
/// If the question was refused.
pub(super) fn found(answer: Result<ServerMessage, Unanswered>) -> Result<Option<StoredValue>, Unanswered> {
    let answer = answer?;
    match answer.status() {
        None => {}
        Some(404) => return Ok(None),
        Some(status) => return Err(Unanswered::Refused(format!("JetStream answered {status}"))),
    }
    let sequence = answer
        .header("Nats-Sequence")
        .and_then(|number| number.parse().ok());
    let at = answer
        .header("Nats-Time-Stamp")
        .and_then(|at| humantime::parse_rfc3339(at).ok());
    match (sequence, at) {
        (Some(sequence), Some(at)) => Ok(Some(StoredValue {
            value: answer.payload,
            sequence,
            at,
        })),
        _ => Err(not_understood()),
    }
}

fn read(answer: &ServerMessage) -> Result<Answer, Unanswered> {
    serde_json::from_slice(&answer.payload).map_err(|_| not_understood())
}

pub(super) fn not_understood() -> Unanswered {
    Unanswered::Refused("JetStream's answer is not understood".to_owned())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<ApiError> for Unanswered {
    fn from(error: ApiError) -> Self {
        if NOT_ENABLED.contains(&error.err_code) {
            return Self::NoJetStream;
        }
        let description: String = error
            .description
            .chars()
            .filter(|c| !c.is_control())
            .take(160)
            .collect();
        Self::Refused(format!("JetStream answered {} {description}", error.err_code))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use super::*;

    fn answer(headers: &'static str, payload: &'static str) -> Result<ServerMessage, Unanswered> {
        Ok(ServerMessage {
            sid: 1,
            subject: Bytes::new(),
            headers: headers.into(),
            payload: payload.into(),
        })
    }

    #[test]
    fn changes() {
        let refused = |text: &str| Err(Unanswered::Refused(text.to_owned()));
        for (payload, expected) in [
            (r#"{"stream":"KV_ids","seq":7}"#, Ok(Some(7))),
            (
                r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"KV_ids","seq":0}"#,
                Ok(None),
            ),
            (
                r#"{"error":{"code":503,"err_code":10039,"description":"not enabled for account"}}"#,
                Err(Unanswered::NoJetStream),
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes\n exceeded"}}"#,
                refused("JetStream answered 10077 maximum bytes exceeded"),
            ),
            ("+OK", refused("JetStream's answer is not understood")),
        ] {
            assert_eq!(change(answer("", payload)), expected, "{payload}");
        }
        assert_eq!(change(Err(Unanswered::Lost)), Err(Unanswered::Lost));
    }

    #[test]
    fn what_is_found() {
        let headers = "NATS/1.0\r\nNats-Stream: KV_ids\r\nNats-Sequence: 5\r\nNats-Time-Stamp: 1970-01-01T00:00:01.5Z\r\n\r\n";
        let stored = StoredValue {
            value: "!".into(),
            sequence: 5,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        };
        assert_eq!(found(answer(headers, "!")), Ok(Some(stored)));
        assert_eq!(
            found(answer("NATS/1.0 404 Message Not Found\r\n\r\n", "")),
            Ok(None)
        );
        for headers in [
            "NATS/1.0 408 Bad Request\r\n\r\n",
            "NATS/1.0\r\nNats-Sequence: 5\r\n\r\n",
            "",
        ] {
            assert!(found(answer(headers, "")).is_err(), "{headers}");
        }
    }
}
