//! Streams of JetStream, and buckets of keys: streams that keep the last message on each subject, changed by comparing sequence numbers.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    protocol::{Publish, ServerMessage},
    requests::{Reply, RequestError, Requests},
};
use crate::texts;

/// The longest window for duplicates. JetStream refuses one that is longer than the lifetime of messages.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The error if the stream exists with another configuration.
const NAME_IN_USE: u32 = 10_058;
/// The errors of a server, and of an account, without JetStream.
const NOT_ENABLED: [u32; 2] = [10_076, 10_039];
/// The error of a change that expected another last change.
const WRONG_SEQUENCE: u32 = 10_071;

/// The creation time of a stream that another node's request is still creating.
const BEING_CREATED: &str = "0001-01-01T00:00:00Z";
/// The attempts to read the creation time, and the pause between them.
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
    /// The time at which it was stored, by the server's clock.
    pub(super) at: SystemTime,
}

/// A response of JetStream's API, which has some of these fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiResponse {
    seq: u64,
    error: Option<ApiError>,
    created: String,
    config: Config,
    pub(super) state: StreamState,
    total: usize,
}

impl ApiResponse {
    /// Reads a response, which may be an error of JetStream.
    fn read(reply: &ServerMessage) -> Result<Self, RequestError> {
        serde_json::from_slice(&reply.payload).map_err(|_| not_understood())
    }

    fn into_result(self) -> Result<Self, RequestError> {
        match self.error {
            Some(error) => Err(error.into()),
            None => Ok(self),
        }
    }

    /// Returns the time at which the stream was created.
    ///
    /// # Errors
    /// If the response has no such time.
    pub(super) fn created_at(&self) -> Result<SystemTime, RequestError> {
        humantime::parse_rfc3339(&self.created).map_err(|_| not_understood())
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
    /// Returns the bucket called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            stream: format!("KV_{name}"),
            subject: format!("$KV.{name}."),
        }
    }

    /// Creates the bucket if it is missing. An existing one is used as an administrator configured it. Values expire after `lifetime`, or
    /// never. With `republish`, the headers of changes below the first of the two names are published below the second. Returns the time of
    /// creation.
    ///
    /// # Errors
    /// If it is missing and cannot be created, or does not republish.
    pub(super) async fn create(
        &self,
        requests: &Requests,
        lifetime: Option<Duration>,
        republish: Option<(&str, &str)>,
    ) -> Result<SystemTime, RequestError> {
        let mut config = json!({
            "name": self.stream,
            "subjects": [format!("{}>", self.subject)],
            "storage": "file",
            "num_replicas": 1,
            "max_msgs_per_subject": 1,
            "max_age": nanoseconds(lifetime.unwrap_or_default()),
            "duplicate_window": nanoseconds(lifetime.unwrap_or(DUPLICATE_WINDOW).min(DUPLICATE_WINDOW)),
            "discard": "new",
            "allow_direct": true,
        });
        if let Some((below, to)) = republish {
            let source = format!("{}{below}.>", self.subject);
            config["republish"] = json!({"src": source, "dest": format!("{to}.>"), "headers_only": true});
        }
        create_stream(requests, &self.stream, &config).await?.created_at()
    }

    /// Returns the keys that begin with `start`, which ends with a dot.
    pub(super) async fn keys(&self, requests: &Requests, start: &str) -> Result<Vec<String>, RequestError> {
        let (filter, mut keys) = (format!("{}{start}>", self.subject), Vec::new());
        for_each_subject(requests, &self.stream, &filter, |subject| {
            keys.extend(subject.strip_prefix(&self.subject).map(str::to_owned));
        })
        .await?;
        Ok(keys)
    }

    /// Returns the request that deletes the change of this number, if it still exists.
    pub(super) fn delete(&self, sequence: u64) -> Publish {
        let body = json!({"seq": sequence, "no_erase": true});
        api("STREAM.MSG.DELETE", &self.stream, &body)
    }

    /// Returns the request that stores `value` for `key`. With `expected`, only if that is the number of the key's last change; 0 for none.
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
        get_last(&self.stream, &format!("{}{key}", self.subject))
    }
}

/// Returns the request to `endpoint` of JetStream's API about a stream.
pub(super) fn api(endpoint: &str, stream: &str, body: &Value) -> Publish {
    Publish {
        subject: format!("$JS.API.{endpoint}.{stream}"),
        headers: Vec::new(),
        payload: body.to_string().into(),
    }
}

/// Returns the request for the last message on `subject` in a stream.
pub(super) fn get_last(stream: &str, subject: &str) -> Publish {
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
pub(super) async fn for_each_subject(
    requests: &Requests,
    stream: &str,
    filter: &str,
    mut take: impl FnMut(&str),
) -> Result<(), RequestError> {
    let mut seen = 0;
    loop {
        let body = json!({"subjects_filter": filter, "offset": seen});
        let response = info(requests, stream, &body).await?.into_result()?;
        let subjects = response.state.subjects.unwrap_or_default();
        seen += subjects.len();
        for subject in subjects.keys() {
            take(subject);
        }
        if subjects.is_empty() || seen >= response.total {
            return Ok(());
        }
    }
}

/// Returns JetStream's description of a stream.
///
/// # Errors
/// If JetStream refuses.
pub(super) async fn stream_info(requests: &Requests, stream: &str) -> Result<ApiResponse, RequestError> {
    info(requests, stream, &json!({})).await?.into_result()
}

async fn info(requests: &Requests, stream: &str, body: &Value) -> Result<ApiResponse, RequestError> {
    ApiResponse::read(&requests.send_one(api("STREAM.INFO", stream, body)).await?)
}

/// Creates the stream if it is missing. An existing one is used with its own configuration.
///
/// # Errors
/// If it is missing and cannot be created, or does not republish as in `config`.
pub(super) async fn create_stream(
    requests: &Requests,
    stream: &str,
    config: &Value,
) -> Result<ApiResponse, RequestError> {
    let create = api("STREAM.CREATE", stream, config);
    let mut created = ApiResponse::read(&requests.send_one(create).await?)?;
    let error = created.error.as_ref();
    if error.is_some_and(|error| error.err_code == NAME_IN_USE) {
        created = info(requests, stream, &json!({})).await?;
    }
    for _ in 0..ATTEMPTS {
        if created.created != BEING_CREATED {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        created = info(requests, stream, &json!({})).await?;
    }
    let created = created.into_result()?;
    let republish = config.get("republish");
    if republish.is_some_and(|republish| created.config.republish != *republish) {
        let text = format!("the stream {stream} does not republish as it should");
        return Err(RequestError::Refused(text));
    }
    Ok(created)
}

/// Returns the number of a change that JetStream stored; `None` if the last change was not the expected one.
///
/// # Errors
/// If the change was refused.
pub(super) fn stored_sequence(reply: Reply) -> Result<Option<u64>, RequestError> {
    let ApiResponse { seq, error, .. } = ApiResponse::read(&reply?)?;
    match error {
        None => Ok(Some(seq)),
        Some(error) if error.err_code == WRONG_SEQUENCE => Ok(None),
        Some(error) => Err(error.into()),
    }
}

/// Returns the requested value; `None` if there is none.
///
/// # Errors
/// If the request was refused.
pub(super) fn stored_value(reply: Reply) -> Result<Option<StoredValue>, RequestError> {
    let reply = reply?;
    match reply.status() {
        None => {}
        Some(404) => return Ok(None),
        Some(status) => return Err(RequestError::Refused(format!("JetStream answered {status}"))),
    }
    let sequence = reply
        .header("Nats-Sequence")
        .and_then(|number| number.parse().ok());
    let at = reply
        .header("Nats-Time-Stamp")
        .and_then(|at| humantime::parse_rfc3339(at).ok());
    match (sequence, at) {
        (Some(sequence), Some(at)) => Ok(Some(StoredValue {
            value: reply.payload,
            sequence,
            at,
        })),
        _ => Err(not_understood()),
    }
}

pub(super) fn not_understood() -> RequestError {
    RequestError::Refused("JetStream's answer is not understood".to_owned())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<ApiError> for RequestError {
    fn from(error: ApiError) -> Self {
        if NOT_ENABLED.contains(&error.err_code) {
            return Self::NoJetStream;
        }
        let description = texts::one_line(&error.description);
        Self::Refused(format!("JetStream answered {} {description}", error.err_code))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use super::*;

    fn reply(headers: &'static str, payload: &'static str) -> Reply {
        Ok(ServerMessage {
            sid: 1,
            subject: Bytes::new(),
            headers: headers.into(),
            payload: payload.into(),
        })
    }

    #[test]
    fn results_of_changes_are_read() {
        let refused = |text: &str| Err(RequestError::Refused(text.to_owned()));
        for (payload, expected) in [
            (r#"{"stream":"KV_ids","seq":7}"#, Ok(Some(7))),
            (
                r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"KV_ids","seq":0}"#,
                Ok(None),
            ),
            (
                r#"{"error":{"code":503,"err_code":10039,"description":"not enabled for account"}}"#,
                Err(RequestError::NoJetStream),
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes\n exceeded"}}"#,
                refused("JetStream answered 10077 maximum bytes exceeded"),
            ),
            ("+OK", refused("JetStream's answer is not understood")),
        ] {
            assert_eq!(stored_sequence(reply("", payload)), expected, "{payload}");
        }
        assert_eq!(stored_sequence(Err(RequestError::Lost)), Err(RequestError::Lost));
    }

    #[test]
    fn values_are_read_with_number_and_time() {
        let headers = "NATS/1.0\r\nNats-Stream: KV_ids\r\nNats-Sequence: 5\r\nNats-Time-Stamp: 1970-01-01T00:00:01.5Z\r\n\r\n";
        let stored = StoredValue {
            value: "!".into(),
            sequence: 5,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        };
        assert_eq!(stored_value(reply(headers, "!")), Ok(Some(stored)));
        let missing = reply("NATS/1.0 404 Message Not Found\r\n\r\n", "");
        assert_eq!(stored_value(missing), Ok(None));
        for headers in [
            "NATS/1.0 408 Bad Request\r\n\r\n",
            "NATS/1.0\r\nNats-Sequence: 5\r\n\r\n",
            "",
        ] {
            assert!(stored_value(reply(headers, "")).is_err(), "{headers}");
        }
    }
}
