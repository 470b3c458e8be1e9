//! What a client says: `{"type","data","timestamp"?}`, one object a message. What nobody knows is ignored, the
//! timestamp included, and what is passed on stays as it was written.
//!
//! This is about form alone. Whether a topic's name is good and whether its client may use it comes later, because a
//! well-formed frame is also what makes a client of another dialect on the same path one of this.

use std::borrow::Cow;

use fanfare_core::{BadObject, MAX_DEPTH, RawObject, string};
use serde_json::value::RawValue;

/// The most topics in one frame.
const MAX_TOPICS: usize = 1000;
/// How much of what was not understood is shown to its sender, in characters.
const MAX_SHOWN: usize = 100;

/// A message from a client.
pub(super) enum Frame<'a> {
    /// It wants to hear these.
    Subscribe(Topics<'a>),
    /// And these no more.
    Unsubscribe(Topics<'a>),
    /// It publishes.
    Broadcast {
        topic: Cow<'a, str>,
        payload: &'a RawValue,
    },
    /// It writes to a user.
    DirectMessage {
        target_user: Cow<'a, str>,
        payload: &'a RawValue,
    },
    /// It asks whether the server is there.
    Ping {
        /// JSON as the client wrote it, if it gave any.
        timestamp: Option<&'a str>,
    },
    /// It is there itself. Whatever else it says with that is not looked at.
    Pong,
}

/// A list of topics.
pub(super) struct Topics<'a> {
    /// As the client wrote it: JSON.
    pub(super) written: &'a str,
    /// The names in it.
    pub(super) names: Vec<Cow<'a, str>>,
}

/// Why something was not done: the data of an `Error`.
pub(super) struct Problem {
    /// As in HTTP.
    pub(super) code: u16,
    /// For people.
    pub(super) message: Cow<'static, str>,
}

impl Problem {
    /// What the client said is not as it must be.
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

/// Reads a message.
pub(super) fn read(text: &str) -> Result<Frame<'_>, Problem> {
    let frame = object(text, "the message")?;
    let kind = frame.get("type").ok_or_else(|| missing("type"))?;
    let kind = string(kind).ok_or_else(|| not_a("type", "string"))?;
    match &*kind {
        "Subscribe" => Ok(Frame::Subscribe(topics(&frame)?)),
        "Unsubscribe" => Ok(Frame::Unsubscribe(topics(&frame)?)),
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
        unknown => Err(Problem::invalid(format!(
            "unknown message type: {}",
            shown(unknown)
        ))),
    }
}

/// As much of `text` as is worth showing.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn data<'a>(frame: &RawObject<'a>) -> Result<RawObject<'a>, Problem> {
    let data = frame.get("data").ok_or_else(|| missing("data"))?;
    object(data.get(), "data")
}

fn topics<'a>(frame: &RawObject<'a>) -> Result<Topics<'a>, Problem> {
    let list = data(frame)?.get("topics").ok_or_else(|| missing("data.topics"))?;
    let bad = || not_a("data.topics", "list of strings");
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| bad())?;
    if items.len() > MAX_TOPICS {
        return Err(Problem::invalid(format!(
            "data.topics has more than {MAX_TOPICS} entries"
        )));
    }
    let names: Option<_> = items.into_iter().map(string).collect();
    Ok(Topics {
        written: list.get(),
        names: names.ok_or_else(bad)?,
    })
}

/// Any value; `null` is one.
fn payload<'a>(data: &RawObject<'a>) -> Result<&'a RawValue, Problem> {
    data.get("payload").ok_or_else(|| missing("data.payload"))
}

/// A string, or a whole number, whose digits are the user's id: some count their users.
fn target_user<'a>(data: &RawObject<'a>) -> Result<Cow<'a, str>, Problem> {
    let user = data
        .get("target_user")
        .ok_or_else(|| missing("data.target_user"))?;
    let text = user.get();
    if is_number(text) && !text.contains(['.', 'e', 'E']) {
        return Ok(Cow::Borrowed(text));
    }
    string(user).ok_or_else(|| not_a("data.target_user", "string or an integer"))
}

/// What a ping wants back: `data.timestamp`, or `data` itself if it is no object.
fn timestamp<'a>(frame: &RawObject<'a>) -> Option<&'a str> {
    let data = frame.given("data")?;
    match RawObject::parse(data.get()) {
        Ok(data) => data.get("timestamp").map(RawValue::get),
        Err(BadObject::NotAnObject) => Some(data.get()),
        Err(BadObject::NotJson) => None, // an object in which a name is half a surrogate pair
    }
}

/// Whether a JSON value is a number.
fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn object<'a>(text: &'a str, what: &'static str) -> Result<RawObject<'a>, Problem> {
    RawObject::parse(text).map_err(|bad| match bad {
        BadObject::NotJson => Problem::invalid(format!(
            "{what} is not JSON, or is nested deeper than {MAX_DEPTH}"
        )),
        BadObject::NotAnObject => not_a(what, "JSON object"),
    })
}

fn missing(field: &str) -> Problem {
    Problem::invalid(format!("{field} is missing"))
}

fn not_a(field: &str, what: &str) -> Problem {
    Problem::invalid(format!("{field} is not a {what}"))
}
