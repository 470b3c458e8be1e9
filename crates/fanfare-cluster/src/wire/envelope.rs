//! The envelope of an event that a node publishes.
//!
//! A node publishes an event as a backend does, `{"type":…,"payload":…}`, with one more field for the envelope. So any program that
//! subscribes to the channel understands it.

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

/// The `type` of an event that has none, because other programs need one.
pub const DEFAULT_TYPE: &str = "notification";

/// The publishing node of an event, its request for replies, and the change that the event announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The publishing node.
    pub node: Box<str>,
    /// The node's number of this publication, by which it recognises the echo.
    pub number: Option<u64>,
    /// Whether each node that delivers it replies with this number.
    pub reply: bool,
    /// The change of a room's members that the event announces.
    pub presence: Option<Box<PresenceMark>>,
    /// Whether it is the recorded copy of a plain publication, which all nodes have received before.
    pub recorded: bool,
}

/// The field `fanfare`. Unknown fields are ignored, so that nodes of two versions understand each other.
#[derive(Serialize, Deserialize)]
struct WrittenEnvelope<'a> {
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
    /// The number, if the node requests replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<u64>,
    /// The number, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    echo: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untyped: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recorded: bool,
    /// Written separately (`announcement`), because the version is still unknown.
    #[serde(default, skip_serializing)]
    presence: Option<WrittenMark>,
    /// Written separately, so that its bytes stay unchanged.
    #[serde(default, borrow, skip_serializing)]
    metadata: Option<&'a RawValue>,
}

/// The fields of a message besides its envelope.
pub(super) struct Content<'a> {
    pub(super) audience: &'a Audience,
    pub(super) kind: &'a str,
    pub(super) data: &'a RawJson,
}

/// Parses the field `fanfare` of `message`. Returns `None` if it is not a node's envelope: then another program published the event.
///
/// # Errors
/// When it is not valid but has `private_to`: the event must not reach other users.
pub(super) fn read(
    message: &Bytes,
    raw: &RawValue,
    content: &Content<'_>,
) -> Result<Option<(Event, Envelope)>, Rejected> {
    // Serde would also read a list as a struct.
    let object = Some(raw.get()).filter(|text| text.trim_ascii_start().starts_with('{'));
    let ours = object
        .and_then(|object| serde_json::from_str(object).ok())
        .and_then(|written| event(message, written, content));
    let is_private = || {
        RawObject::parse_within(MAX_ENVELOPED_DEPTH, raw.get())
            .is_ok_and(|fields| fields.get("private_to").is_some())
    };
    match ours {
        None if is_private() => Err(Rejected::BadEnvelope),
        ours => Ok(ours),
    }
}

/// Returns the event of an envelope, if the envelope is valid.
fn event(message: &Bytes, written: WrittenEnvelope<'_>, content: &Content<'_>) -> Option<(Event, Envelope)> {
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

/// Writes `event` as a node publishes it. The bytes of its data and metadata stay unchanged.
pub fn encode(event: &Event, envelope: &Envelope) -> Bytes {
    let sender = event.sender.as_deref();
    let written = WrittenEnvelope {
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
        // Adds a field to the object that was just written.
        out.pop();
        out.extend_from_slice(br#","metadata":"#);
        out.extend_from_slice(metadata);
        out.push(b'}');
    }
    out.push(b'}');
    out.into()
}

fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Cannot fail: only strings and numbers are written to memory.
    let _ = serde_json::to_writer(out, value);
}
