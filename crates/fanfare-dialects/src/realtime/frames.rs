//! Parses a client's messages: `{"type","data","timestamp"?}`. Payloads keep their bytes. Names are checked later: on a shared
//! path, a well-formed message switches a connection of the other dialect to this one.

use std::borrow::Cow;

use fanfare_core::{BadObject, MAX_DEPTH, RawObject, history::Since, string};
use serde_json::value::RawValue;

use crate::text::excerpt;

const MAX_TOPICS: usize = 1000;

pub(super) enum Frame<'a> {
    /// Subscribes to topics, and may request missed events.
    Subscribe(TopicList<'a>, Option<Since>),
    Unsubscribe(TopicList<'a>),
    Broadcast {
        topic: Cow<'a, str>,
        payload: &'a RawValue,
    },
    DirectMessage {
        target_user: Cow<'a, str>,
        payload: &'a RawValue,
    },
    Ping {
        /// The timestamp, JSON as the client wrote it.
        timestamp: Option<&'a str>,
    },
    /// Counts as activity; other fields are ignored.
    Pong,
}

pub(super) struct TopicList<'a> {
    /// The list as the client wrote it, in JSON.
    pub(super) written: &'a str,
    pub(super) names: Vec<Cow<'a, str>>,
}

/// The data of an `Error`.
pub(super) struct FrameError {
    /// A code like HTTP's.
    pub(super) code: u16,
    pub(super) message: Cow<'static, str>,
}

impl FrameError {
    /// Returns the error for a malformed message.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

pub(super) fn read(text: &str) -> Result<Frame<'_>, FrameError> {
    let frame = object(text, "the message")?;
    let kind = frame.get("type").ok_or_else(|| missing("type"))?;
    let kind = string(kind).ok_or_else(|| not_a("type", "string"))?;
    match &*kind {
        "Subscribe" => {
            let data = data(&frame)?;
            Ok(Frame::Subscribe(topics(&data)?, Since::given(&data)))
        }
        "Unsubscribe" => Ok(Frame::Unsubscribe(topics(&data(&frame)?)?)),
        "Broadcast" => {
            let data = data(&frame)?;
            let topic = data.get("topic").ok_or_else(|| missing("data.topic"))?;
            Ok(Frame::Broadcast {
                topic: string(topic).ok_or_else(|| not_a("data.topic", "string"))?,
                payload: payload(&data)?,
            })
        }
        "DirectMessage" => {
            let data = data(&frame)?;
            Ok(Frame::DirectMessage {
                target_user: target_user(&data)?,
                payload: payload(&data)?,
            })
        }
        "Ping" => Ok(Frame::Ping {
            timestamp: timestamp(&frame),
        }),
        "Pong" => Ok(Frame::Pong),
        unknown => {
            let unknown = excerpt(unknown);
            Err(FrameError::invalid(format!("unknown message type: {unknown}")))
        }
    }
}

fn data<'a>(frame: &RawObject<'a>) -> Result<RawObject<'a>, FrameError> {
    let data = frame.get("data").ok_or_else(|| missing("data"))?;
    object(data.get(), "data")
}

fn topics<'a>(data: &RawObject<'a>) -> Result<TopicList<'a>, FrameError> {
    let list = data.get("topics").ok_or_else(|| missing("data.topics"))?;
    let bad = || not_a("data.topics", "list of strings");
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| bad())?;
    if items.len() > MAX_TOPICS {
        let message = format!("data.topics has more than {MAX_TOPICS} entries");
        return Err(FrameError::invalid(message));
    }
    let names: Option<_> = items.into_iter().map(string).collect();
    Ok(TopicList {
        written: list.get(),
        names: names.ok_or_else(bad)?,
    })
}

/// Returns any value, `null` included.
fn payload<'a>(data: &RawObject<'a>) -> Result<&'a RawValue, FrameError> {
    data.get("payload").ok_or_else(|| missing("data.payload"))
}

/// Returns a string, or an integer, whose digits are the user's id: some systems number their users.
fn target_user<'a>(data: &RawObject<'a>) -> Result<Cow<'a, str>, FrameError> {
    let user = data.get("target_user");
    let user = user.ok_or_else(|| missing("data.target_user"))?;
    let text = user.get();
    if is_number(text) && !text.contains(['.', 'e', 'E']) {
        return Ok(Cow::Borrowed(text));
    }
    string(user).ok_or_else(|| not_a("data.target_user", "string or an integer"))
}

/// Returns the value that a pong echoes: `data.timestamp`, or `data` itself if it is not an object.
fn timestamp<'a>(frame: &RawObject<'a>) -> Option<&'a str> {
    let data = frame.given("data")?;
    match RawObject::parse(data.get()) {
        Ok(data) => data.get("timestamp").map(RawValue::get),
        Err(BadObject::NotAnObject) => Some(data.get()),
        Err(BadObject::NotJson) => None, // an object in which a name is half a surrogate pair
    }
}

fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn object<'a>(text: &'a str, what: &'static str) -> Result<RawObject<'a>, FrameError> {
    RawObject::parse(text).map_err(|bad| match bad {
        BadObject::NotJson => FrameError::invalid(format!(
            "{what} is not JSON, or is nested deeper than {MAX_DEPTH}"
        )),
        BadObject::NotAnObject => not_a(what, "JSON object"),
    })
}

fn missing(field: &str) -> FrameError {
    FrameError::invalid(format!("{field} is missing"))
}

fn not_a(field: &str, what: &str) -> FrameError {
    FrameError::invalid(format!("{field} is not a {what}"))
}
