//! The form of events on Redis and in the service API. This module does no I/O.
//!
//! | Redis channel | audience | message |
//! |---|---|---|
//! | `user_noti:{id}` | a user | `{"type": string, "payload": any}` |
//! | `fanfare:everyone` | everyone | the same |
//! | `fanfare:channel:{name}` | a channel's subscribers | the same, with optional `"metadata": {…}` and `"sender": string`; `data` is another name for `payload`. Any other JSON value is the data of an event without a type |
//! | `fanfare:events` | named by each event | a body of the service API |
//!
//! A program that may publish on Redis is trusted like a service. Other fields are ignored, except `fanfare`: in it, nodes store the
//! other fields of an event (`envelope`).

mod announcement;
mod envelope;
mod presence;
mod publication;

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{
    Audience, BadObject, Event, MAX_DEPTH, MAX_NAME_BYTES, NotJson, RawJson, RawObject, Sender, UserId,
    deeper_than, history::RESERVED_TYPES, personal_names, string,
};
use serde_json::value::RawValue;

pub use announcement::{AnnouncementText, announcement};
use envelope::Content;
pub use envelope::{DEFAULT_TYPE, Envelope, encode};
pub use presence::{PresenceMark, read_member, write_member};
pub use publication::{MAX_EVENTS, Publication, PublicationError, ServiceEvent, parse_publication, uuid_v5};

/// The Redis channel of events for everyone.
pub const EVERYONE: &str = "fanfare:everyone";
/// The Redis channel of bodies of the service API.
pub const EVENTS: &str = "fanfare:events";
/// The prefix of Fanfare's reserved names.
const RESERVED: &str = "fanfare:";
/// The prefix of users' Redis channels, before the user's id.
pub const USER: &str = "user_noti:";
/// The prefix of channels' Redis channels, before the channel's name.
pub const CHANNEL: &str = "fanfare:channel:";

/// The largest accepted message, in bytes: the largest body of the service API, and an envelope.
pub(crate) const MAX_BYTES: usize = (8 << 20) + (64 << 10);

/// The deepest nesting of a message of a node: the message, its envelope, and the metadata in the envelope.
const MAX_ENVELOPED_DEPTH: usize = MAX_DEPTH + 2;

/// The reason why a message was dropped. The texts contain nothing of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The Redis channel's name is neither a user's nor a legal channel name.
    #[error("bad channel name")]
    BadChannel,
    /// The text after `user_noti:` is not a user id.
    #[error("bad user id in the channel name")]
    BadUser,
    /// A personal channel under [`CHANNEL`]: on Redis its only name begins with [`USER`].
    #[error("a personal channel's name is {USER} and the user's id")]
    Personal,
    /// The Redis channel is reserved for nodes.
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
    /// `type` is reserved for the server.
    #[error("the type is reserved for the server")]
    ReservedType,
    /// `payload` is missing.
    #[error("the message has no `payload`")]
    NoPayload,
    /// The envelope restricts the event to some users, in a form that this version does not read.
    #[error("the message's envelope is not valid")]
    BadEnvelope,
    /// Not a body of the service API.
    #[error("the message is not an event or a list of events")]
    BadPublication,
    /// The message has more than `MAX_BYTES` bytes.
    #[error("the message has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// A message between nodes, of a kind or in a form that this version does not know.
    #[error("this version does not know this kind of message between nodes")]
    OtherVersion,
    /// On a subject of the nodes, but not one of their messages.
    #[error("the message is not from a Fanfare node")]
    NotOfNodes,
}

impl Rejected {
    /// The kinds of reasons in metrics.
    pub(crate) const KINDS: [&'static str; 4] = ["malformed", "too_large", "other_version", "garbage"];

    /// Returns its index in [`Self::KINDS`].
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::TooLarge => 1,
            Self::OtherVersion => 2,
            Self::NotOfNodes => 3,
            _ => 0,
        }
    }

    /// Returns whether every version refuses the message. No client then misses it, even if the journal keeps it.
    pub(crate) fn is_by_every_version(self) -> bool {
        matches!(
            self,
            Self::NotJson | Self::NotAnObject | Self::NoType | Self::ReservedType | Self::NoPayload
        )
    }
}

impl From<NotJson> for Rejected {
    fn from(_: NotJson) -> Self {
        Self::NotJson
    }
}

impl From<BadObject> for Rejected {
    fn from(bad: BadObject) -> Self {
        match bad {
            BadObject::NotJson => Self::NotJson,
            BadObject::NotAnObject => Self::NotAnObject,
        }
    }
}

/// Returns the Redis channel of events for `audience`.
pub fn redis_channel(audience: &Audience) -> String {
    match audience {
        Audience::Everyone => EVERYONE.to_owned(),
        Audience::User(user) => format!("{USER}{user}"),
        Audience::Channel(channel) => format!("{CHANNEL}{channel}"),
    }
}

/// Parses a message that arrived on a Redis channel at `now`, and appends its events to `events`.
///
/// # Errors
/// When the message does not have the documented form. Then no event is appended.
pub fn parse_message(
    channel: &[u8],
    message: &Bytes,
    now: SystemTime,
    events: &mut Vec<Event>,
) -> Result<(), Rejected> {
    let channel = std::str::from_utf8(channel).map_err(|_| Rejected::BadChannel)?;
    if channel == EVENTS {
        events.extend(parse_publication(message, now).map_err(|_| Rejected::BadPublication)?);
    } else {
        events.push(parse_event(audience(channel)?, message, now)?.0);
    }
    Ok(())
}

/// Returns the Redis channels that address `audience` at the embedded broker's door, the usual one first.
pub fn redis_names(audience: &Audience) -> impl Iterator<Item = String> {
    let names = match audience {
        Audience::Everyone => vec![EVERYONE.to_owned()],
        Audience::User(user) => {
            let usual = redis_channel(audience);
            let others = personal_names(user).filter(|name| !name.starts_with(USER));
            std::iter::once(usual).chain(others).collect()
        }
        Audience::Channel(channel) => {
            let plain = (!channel.starts_with(RESERVED)).then(|| channel.to_string());
            plain.into_iter().chain([format!("{CHANNEL}{channel}")]).collect()
        }
    };
    names.into_iter()
}

/// Returns the audience that a Redis channel addresses.
///
/// # Errors
/// When it addresses none, such as [`EVENTS`], where each event names its audience.
pub fn audience(channel: &str) -> Result<Audience, Rejected> {
    if channel == EVERYONE {
        Ok(Audience::Everyone)
    } else if let Some(id) = channel.strip_prefix(USER) {
        UserId::new(id).map(Audience::User).map_err(|_| Rejected::BadUser)
    } else {
        let below = channel.strip_prefix(CHANNEL);
        if below.is_none() && channel.starts_with(RESERVED) {
            return Err(Rejected::Reserved);
        }
        match Audience::of_channel(below.unwrap_or(channel)) {
            // Nodes subscribe to users under `USER`: an event on this channel would not reach them.
            Ok(Audience::User(_)) if below.is_some() => Err(Rejected::Personal),
            Ok(audience) => Ok(audience),
            Err(_) => Err(Rejected::BadChannel),
        }
    }
}

/// Parses an event that arrived for `audience` at `now`, and its envelope if a node published it.
///
/// # Errors
/// When the message does not have the documented form.
pub fn parse_event(audience: Audience, message: &Bytes, now: SystemTime) -> Result<ParsedEvent, Rejected> {
    match audience {
        Audience::Channel(_) => parse_on_channel(audience, message, now),
        Audience::Everyone | Audience::User(_) => parse_notification(&audience, message, now),
    }
}

/// An event, and its envelope if a node published it.
pub type ParsedEvent = (Event, Option<Envelope>);

/// Parses `{"type": string, "payload": any}`, with a node's envelope. Ignores other fields, except on a channel: there `metadata` (an
/// object) and `sender` (a string) are the event's, and `data` is another name for `payload`. Ignores values of another type in them.
fn parse_notification(
    audience: &Audience,
    message: &Bytes,
    now: SystemTime,
) -> Result<ParsedEvent, Rejected> {
    let text = std::str::from_utf8(message).map_err(|_| Rejected::NotJson)?;
    let fields = RawObject::parse_within(MAX_ENVELOPED_DEPTH, text)?;
    let on_channel = |name| match audience {
        Audience::Channel(_) => fields.get(name),
        Audience::Everyone | Audience::User(_) => None,
    };
    let kind = fields.get("type").and_then(string).ok_or(Rejected::NoType)?;
    let data = fields.get("payload").or_else(|| on_channel("data"));
    let data = RawJson::slice(message, data.ok_or(Rejected::NoPayload)?)?;
    let content = Content {
        audience,
        kind: &kind,
        data: &data,
    };
    if let Some(raw) = fields.get("fanfare")
        && let Some((event, envelope)) = envelope::read(message, raw, &content)?
    {
        return Ok((event, Some(envelope)));
    }
    if deeper_than(MAX_DEPTH, message) {
        return Err(Rejected::NotJson);
    }
    if RESERVED_TYPES.contains(&&*kind) {
        return Err(Rejected::ReservedType);
    }
    let event = Event {
        metadata: on_channel("metadata").and_then(|raw| object(message, raw)),
        sender: on_channel("sender").and_then(string).and_then(|id| sender(&id)),
        ..Event::new(audience.clone(), Some(&kind), data, now)
    };
    Ok((event, None))
}

/// Parses a notification. Any other JSON value is the data of an event without a type.
fn parse_on_channel(audience: Audience, message: &Bytes, now: SystemTime) -> Result<ParsedEvent, Rejected> {
    match parse_notification(&audience, message, now) {
        Err(bad) if !matches!(bad, Rejected::BadEnvelope | Rejected::ReservedType) => {
            let data = RawJson::parse(message)?;
            Ok((Event::new(audience, None, data, now), None))
        }
        other => other,
    }
}

/// Returns `raw`, a part of `message`, if it is an object.
fn object(message: &Bytes, raw: &RawValue) -> Option<RawJson> {
    RawJson::slice(message, raw).ok().filter(RawJson::is_object)
}

/// Returns the sender `id`, if its length is valid.
fn sender(id: &str) -> Option<Box<Sender>> {
    (1..=MAX_NAME_BYTES).contains(&id.len()).then(|| Sender::new(id))
}

#[cfg(test)]
mod tests;
