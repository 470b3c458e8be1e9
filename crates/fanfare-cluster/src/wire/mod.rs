//! How events look to the Redis world and to callers of the service API. Nothing here does I/O.
//!
//! | Redis channel | for | message |
//! |---|---|---|
//! | `user_noti:{id}` | a user | `{"type": string, "payload": any}` |
//! | `fanfare:everyone` | everyone | the same |
//! | `fanfare:channel:{name}` | a channel's subscribers | the same, and if wanted `"metadata": {…}` and `"sender": string`; `data` may stand for `payload`. Any other JSON value is the data of an event without a type |
//! | `fanfare:events` | as each event says | a body of the service API |
//!
//! A program that may publish on Redis is trusted like a service. Other fields are allowed and ignored, but for one: `fanfare`,
//! in which Fanfare's nodes carry the rest of an event (`envelope`).

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

/// What is published here reaches everyone.
pub const EVERYONE: &str = "fanfare:everyone";
/// Bodies of the service API are published here.
pub const EVENTS: &str = "fanfare:events";
/// Names that begin so are Fanfare's own.
const RESERVED: &str = "fanfare:";
/// Events for a user; the user's id follows.
pub const USER: &str = "user_noti:";
/// Events for a channel; its name follows.
pub const CHANNEL: &str = "fanfare:channel:";

/// The largest message that is read: the largest body of the service API, and an envelope.
pub(crate) const MAX_BYTES: usize = (8 << 20) + (64 << 10);

/// How deep a message may be that one of Fanfare's nodes wrote: the message, the envelope in it, and the metadata in that.
const MAX_ENVELOPED_DEPTH: usize = MAX_DEPTH + 2;

/// Why a publication was dropped. The texts hold nothing of what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The Redis channel's name is neither a user's nor a legal channel name.
    #[error("bad channel name")]
    BadChannel,
    /// What follows `user_noti:` is no user id.
    #[error("bad user id in the channel name")]
    BadUser,
    /// A personal channel under [`CHANNEL`]: on Redis it has one name, the user's.
    #[error("a user's own channel is called {USER}, then the id")]
    Personal,
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
    /// `type` is one of the server's own.
    #[error("the type is reserved for the server")]
    ReservedType,
    /// `payload` is missing.
    #[error("the message has no `payload`")]
    NoPayload,
    /// The envelope names the users that the event is private to, in a form that is not understood.
    #[error("the message's envelope is not of the documented form")]
    BadEnvelope,
    /// Not a body of the service API.
    #[error("the message is not an event or a list of events")]
    BadPublication,
    /// A message with more bytes than any of the documented ones.
    #[error("the message has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// A message between nodes of a kind, or in a form, that this version does not know.
    #[error("the message between nodes is not of a kind that this version knows")]
    OtherVersion,
    /// On a subject of the nodes, and no message of theirs.
    #[error("the message is none of Fanfare's nodes")]
    NotOfNodes,
}

impl Rejected {
    /// The kinds of reasons, as metrics name them.
    pub(crate) const KINDS: [&'static str; 4] = ["malformed", "too_large", "other_version", "garbage"];

    /// Its place among [`Self::KINDS`].
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::TooLarge => 1,
            Self::OtherVersion => 2,
            Self::NotOfNodes => 3,
            _ => 0,
        }
    }

    /// Whether each version refuses such a message: if a backend had it kept, nobody misses it.
    pub(crate) fn is_for_nobody(self) -> bool {
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

/// The Redis channel on which events for `audience` are published.
pub fn redis_channel(audience: &Audience) -> String {
    match audience {
        Audience::Everyone => EVERYONE.to_owned(),
        Audience::User(user) => format!("{USER}{user}"),
        Audience::Channel(channel) => format!("{CHANNEL}{channel}"),
    }
}

/// Reads what was published as `message` on the Redis channel `channel` at `now`, and adds its events to `events`.
///
/// # Errors
/// When it is not of the documented form. Then none is added.
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

/// The names by which a publisher may address `audience` at the embedded door, the usual one first.
pub fn redis_names(audience: &Audience) -> impl Iterator<Item = String> {
    let names = match audience {
        Audience::Everyone => vec![EVERYONE.to_owned()],
        Audience::User(user) => {
            let usual = format!("{USER}{user}");
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

/// What the Redis channel `channel` addresses; [`EVENTS`], where each message names its own audiences, is none.
///
/// # Errors
/// When it addresses nothing.
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
            // Nodes subscribe to users by the users' names: on a real Redis it would reach none of them, or only some.
            Ok(Audience::User(_)) if below.is_some() => Err(Rejected::Personal),
            Ok(audience) => Ok(audience),
            Err(_) => Err(Rejected::BadChannel),
        }
    }
}

/// Reads one event that was published for `audience` at `now`, and the envelope if one of Fanfare's nodes published it.
///
/// # Errors
/// When it is not of the documented form.
pub fn parse_event(audience: Audience, message: &Bytes, now: SystemTime) -> Result<Contents, Rejected> {
    match audience {
        Audience::Channel(_) => on_channel(audience, message, now),
        Audience::Everyone | Audience::User(_) => notification(&audience, message, now),
    }
}

/// An event, and the envelope that one of Fanfare's nodes put around it.
pub type Contents = (Event, Option<Envelope>);

/// `{"type": string, "payload": any}`, and what a node's envelope says. Other fields are the publisher's own business,
/// save on a channel: there `metadata` (an object) and `sender` (a string) are the event's, and `data` is another name
/// for `payload`, as in the service API. What they hold in another form is no part of the event.
fn notification(audience: &Audience, message: &Bytes, now: SystemTime) -> Result<Contents, Rejected> {
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

/// A notification, or any other JSON value, which then is the data.
fn on_channel(audience: Audience, message: &Bytes, now: SystemTime) -> Result<Contents, Rejected> {
    match notification(&audience, message, now) {
        Err(bad) if !matches!(bad, Rejected::BadEnvelope | Rejected::ReservedType) => {
            let data = RawJson::parse(message)?;
            Ok((Event::new(audience, None, data, now), None))
        }
        other => other,
    }
}

/// The object that `raw`, a part of `message`, is.
fn object(message: &Bytes, raw: &RawValue) -> Option<RawJson> {
    RawJson::slice(message, raw).ok().filter(RawJson::is_object)
}

/// The sender called `id`, if that is short enough to be one.
fn sender(id: &str) -> Option<Box<Sender>> {
    (1..=MAX_NAME_BYTES).contains(&id.len()).then(|| Sender::new(id))
}

#[cfg(test)]
mod tests;
