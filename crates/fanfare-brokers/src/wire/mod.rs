//! How events look to the Redis world and to callers of the service API. Nothing here does I/O.

mod envelope;
mod fields;
mod publication;

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{Audience, Event, Interest, MAX_DEPTH, NotJson, RawJson, UserId};
use serde_json::value::RawValue;

pub use envelope::{DEFAULT_TYPE, Envelope, encode};
pub use publication::{MAX_EVENTS, PublicationError, parse_publication};

use fields::{Fields, shallow_text, string};

/// What is published here reaches everyone.
pub const EVERYONE: &str = "fanfare:everyone";
/// Bodies of the service API are published here.
pub const EVENTS: &str = "fanfare:events";
/// Names that begin so are Fanfare's own.
const RESERVED: &str = "fanfare:";
/// Events for a user; the user's id follows.
const USER: &str = "user_noti:";
/// Events for a channel; its name follows.
const CHANNEL: &str = "fanfare:channel:";

/// Why a publication was dropped. The texts hold nothing of what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The Redis channel's name is neither a user's nor a legal channel name.
    #[error("bad channel name")]
    BadChannel,
    /// What follows `user_noti:` is no user id.
    #[error("bad user id in the channel name")]
    BadUser,
    /// The Redis channel belongs to Fanfare's nodes.
    #[error("this channel is reserved")]
    Reserved,
    /// Not JSON in UTF-8, or nested too deep.
    #[error("the message is not JSON, or nested deeper than {MAX_DEPTH}")]
    NotJson,
    /// JSON, but not an object.
    #[error("the message is not a JSON object")]
    NotAnObject,
    /// `type` is missing or is not a string.
    #[error("the message has no `type` that is a string")]
    NoType,
    /// `payload` is missing.
    #[error("the message has no `payload`")]
    NoPayload,
    /// Not a body of the service API.
    #[error("the message is not an event or a list of events")]
    BadPublication,
}

impl From<NotJson> for Rejected {
    fn from(_: NotJson) -> Self {
        Self::NotJson
    }
}

/// Anything that has a Redis channel of its own.
pub trait OnRedis {
    /// The channel's name.
    fn redis_channel(&self) -> String;
}

impl OnRedis for Interest {
    fn redis_channel(&self) -> String {
        match self {
            Self::User(user) => format!("{USER}{user}"),
            Self::Channel(channel) => format!("{CHANNEL}{channel}"),
            Self::AllChannels => format!("{CHANNEL}*"),
        }
    }
}

impl OnRedis for Audience {
    fn redis_channel(&self) -> String {
        match self {
            Self::Everyone => EVERYONE.to_owned(),
            Self::User(user) => format!("{USER}{user}"),
            Self::Channel(channel) => format!("{CHANNEL}{channel}"),
        }
    }
}

/// The Redis channel on which events for `whom` (an [`Interest`] or an [`Audience`]) are published.
pub fn redis_channel(whom: &impl OnRedis) -> String {
    whom.redis_channel()
}

/// What one Redis message holds.
#[derive(Debug)]
pub enum Parsed {
    /// One event, and the envelope if a Fanfare node published it.
    One(Event, Option<Envelope>),
    /// The events of one body of the service API.
    Many(Vec<Event>),
}

/// Reads what was published as `message` on the Redis channel `channel` at `now`.
///
/// # Errors
/// When it is not of the documented form.
pub fn parse_message(channel: &[u8], message: &Bytes, now: SystemTime) -> Result<Vec<Event>, Rejected> {
    match parse(channel, message, now)? {
        Parsed::One(event, _) => Ok(vec![event]),
        Parsed::Many(events) => Ok(events),
    }
}

/// As [`parse_message`], and tells the envelope that Fanfare's nodes put around events.
///
/// # Errors
/// As [`parse_message`].
pub fn parse(channel: &[u8], message: &Bytes, now: SystemTime) -> Result<Parsed, Rejected> {
    let channel = std::str::from_utf8(channel).map_err(|_| Rejected::BadChannel)?;
    if channel == EVENTS {
        let events = parse_publication(message, now).map_err(|_| Rejected::BadPublication)?;
        return Ok(Parsed::Many(events));
    }
    let (event, envelope) = match audience(channel)? {
        Audience::Channel(name) => on_channel(Audience::Channel(name), message, now)?,
        audience => notification(audience, message, now)?,
    };
    Ok(Parsed::One(event, envelope))
}

fn audience(channel: &str) -> Result<Audience, Rejected> {
    if channel == EVERYONE {
        Ok(Audience::Everyone)
    } else if let Some(id) = channel.strip_prefix(USER) {
        UserId::new(id).map(Audience::User).map_err(|_| Rejected::BadUser)
    } else {
        let name = channel.strip_prefix(CHANNEL).unwrap_or(channel);
        if name == channel && channel.starts_with(RESERVED) {
            return Err(Rejected::Reserved);
        }
        Audience::of_channel(name).map_err(|_| Rejected::BadChannel)
    }
}

type Contents = (Event, Option<Envelope>);

/// `{"type": string, "payload": any}`; other fields are the publisher's own business.
fn notification(audience: Audience, message: &Bytes, now: SystemTime) -> Result<Contents, Rejected> {
    let text = shallow_text(message)?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| not_an_object(message))?;
    let (mut kind, mut payload, mut envelope) = (None, None, None);
    for (name, value) in fields.0 {
        // The last of doubles wins, as in nearly every JSON library.
        match &*name {
            "type" => kind = Some(value),
            "payload" => payload = Some(value),
            "fanfare" => envelope = Some(value),
            _ => {}
        }
    }
    let kind = kind.and_then(string).ok_or(Rejected::NoType)?;
    let payload = RawJson::slice(message, payload.ok_or(Rejected::NoPayload)?)?;
    let Some((envelope, meta)) = envelope.and_then(envelope::read) else {
        return Ok((Event::new(audience, Some(&kind), payload, now), None));
    };
    let kind = (!meta.untyped).then_some(&*kind);
    let event = Event {
        id: meta.id,
        sender: meta.sender,
        ..Event::new(audience, kind, payload, meta.timestamp)
    };
    Ok((event, Some(envelope)))
}

/// A notification, or any other JSON value, which then is the data.
fn on_channel(audience: Audience, message: &Bytes, now: SystemTime) -> Result<Contents, Rejected> {
    match notification(audience.clone(), message, now) {
        Err(Rejected::NotAnObject | Rejected::NoType | Rejected::NoPayload) => {
            let data = RawJson::parse(message)?;
            Ok((Event::new(audience, None, data, now), None))
        }
        other => other,
    }
}

/// Tells apart what is not JSON from JSON that is something else than an object.
fn not_an_object(message: &[u8]) -> Rejected {
    match serde_json::from_slice::<&RawValue>(message) {
        Ok(_) => Rejected::NotAnObject,
        Err(_) => Rejected::NotJson,
    }
}

#[cfg(test)]
mod tests;
