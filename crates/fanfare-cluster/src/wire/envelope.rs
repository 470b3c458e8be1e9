//! The envelope that Fanfare's nodes put around an event.
//!
//! An event travels as the very notification any backend would publish, `{"type":…,"payload":…}`, with one field
//! more, so that every subscriber of the channel understands it, be it Fanfare or not.

use bytes::Bytes;
use fanfare_core::{
    Audience, Channel, Event, MAX_NAME_BYTES, RawJson, RawObject, Sender, UserId, history::History, timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    MAX_ENVELOPED_DEPTH, Rejected, object,
    presence::{PresenceMark, WrittenMark},
    sender,
};

/// Stands in `type` for an event that has none, since other programs that subscribe need one.
pub const DEFAULT_TYPE: &str = "notification";

/// Where an event was published, what its publisher waits for, and what it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The publishing node.
    pub node: Box<str>,
    /// That node's number for this publication, by which it recognises the echo.
    pub number: Option<u64>,
    /// Each node that delivers it replies with this number.
    pub reply: bool,
    /// The change of a room's members that the event announces.
    pub presence: Option<Box<PresenceMark>>,
    /// It is the copy of a plain publication, which all nodes have received before.
    pub recorded: bool,
}

/// The field `fanfare`. Unknown fields are allowed, so that nodes of two versions understand each other.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    id: Uuid,
    node: Box<str>,
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private_to: Option<Vec<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readers_of: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Box<str>>,
    /// The number, if replies are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<u64>,
    /// The number, if none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    echo: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untyped: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recorded: bool,
    /// Written apart, since the version is not known yet.
    #[serde(default, skip_serializing)]
    presence: Option<WrittenMark>,
    /// Written apart, since its bytes are the event's own.
    #[serde(default, borrow, skip_serializing)]
    metadata: Option<&'a RawValue>,
}

/// What a message says beside its envelope.
pub(super) struct Content<'a> {
    pub(super) audience: &'a Audience,
    pub(super) kind: &'a str,
    pub(super) data: &'a RawJson,
}

/// Reads the field `fanfare` of `message`, which has that `content`; `None` if it is not ours, and then the event is like any other
/// publisher's.
///
/// # Errors
/// When it is not ours but says whom the event is private to: that must not be overlooked.
pub(super) fn read(
    message: &Bytes,
    raw: &RawValue,
    content: &Content<'_>,
) -> Result<Option<(Event, Envelope)>, Rejected> {
    // A derived reader would take a list for an object.
    let object = Some(raw.get()).filter(|text| text.trim_ascii_start().starts_with('{'));
    let ours = object
        .and_then(|object| serde_json::from_str(object).ok())
        .and_then(|written| check(message, written, content));
    let is_private = || {
        RawObject::parse_within(MAX_ENVELOPED_DEPTH, raw.get())
            .is_ok_and(|fields| fields.get("private_to").is_some())
    };
    match ours {
        None if is_private() => Err(Rejected::BadEnvelope),
        ours => Ok(ours),
    }
}

fn check(message: &Bytes, written: Written<'_>, content: &Content<'_>) -> Option<(Event, Envelope)> {
    if written.node.len() > MAX_NAME_BYTES {
        return None;
    }
    let sender = written.sender.and_then(|id| sender(&id)).map(|sender| {
        Box::new(Sender {
            username: written.username,
            connection: written.connection,
            ..*sender
        })
    });
    let private_to = written.private_to.map(|users| {
        let users = users.iter().map(|user| UserId::new(user));
        users.collect::<Result<Box<[UserId]>, _>>()
    });
    let readers_of = written.readers_of.map(|name| Channel::new(&name));
    let event = Event {
        id: written.id,
        named: false,
        kind: (!written.untyped).then(|| content.kind.into()),
        audience: content.audience.clone(),
        data: content.data.clone(),
        metadata: written.metadata.and_then(|raw| object(message, raw)),
        sender,
        timestamp: humantime::parse_rfc3339(&written.timestamp).ok()?,
        private_to: private_to.transpose().ok()?,
        readers_of: readers_of.transpose().ok()?,
        except: written.except,
        history: History::None,
        traceparent: written.traceparent.as_deref().and_then(Event::traceparent_of),
    };
    let envelope = Envelope {
        node: written.node,
        number: written.reply.or(written.echo),
        reply: written.reply.is_some(),
        presence: written.presence.and_then(WrittenMark::read),
        recorded: written.recorded,
    };
    Some((event, envelope))
}

/// Writes `event` as it is published on Redis; the bytes of its data and metadata are its own.
pub fn encode(event: &Event, envelope: &Envelope) -> Bytes {
    let sender = event.sender.as_deref();
    let written = Written {
        id: event.id,
        node: envelope.node.clone(),
        timestamp: timestamp(event.timestamp).to_string(),
        sender: sender.map(|sender| sender.id.clone()),
        username: sender.and_then(|sender| sender.username.clone()),
        connection: sender.and_then(|sender| sender.connection),
        private_to: event
            .private_to
            .as_ref()
            .map(|users| users.iter().map(|user| Box::from(&**user)).collect()),
        readers_of: event.readers_of.as_ref().map(|channel| Box::from(&**channel)),
        except: event.except,
        traceparent: event.traceparent.clone(),
        reply: envelope.number.filter(|_| envelope.reply),
        echo: envelope.number.filter(|_| !envelope.reply),
        untyped: event.kind.is_none(),
        recorded: envelope.recorded,
        presence: None,
        metadata: None,
    };
    let metadata = event
        .metadata
        .as_ref()
        .map_or(&[][..], |metadata| metadata.bytes());
    let mut out = Vec::with_capacity(event.data.bytes().len() + metadata.len() + 256);
    out.extend_from_slice(br#"{"type":"#);
    write(&mut out, event.kind.as_deref().unwrap_or(DEFAULT_TYPE));
    out.extend_from_slice(br#","payload":"#);
    out.extend_from_slice(event.data.bytes());
    out.extend_from_slice(br#","fanfare":"#);
    write(&mut out, &written);
    if !metadata.is_empty() {
        // One field more in the object that was just written.
        out.pop();
        out.extend_from_slice(br#","metadata":"#);
        out.extend_from_slice(metadata);
        out.push(b'}');
    }
    out.push(b'}');
    out.into()
}

fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Strings, numbers and a struct of them written to memory: there is nothing that could fail.
    let _ = serde_json::to_writer(out, value);
}
