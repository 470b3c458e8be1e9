//! What Fanfare's nodes say to each other around an event.
//!
//! An event travels as the very notification any backend would publish, `{"type":…,"payload":…}`, with one field
//! more, so that every subscriber of the channel understands it, be it Fanfare or not.

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{Event, MAX_NAME_BYTES, Sender, timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Stands in `type` for an event that has none, since subscribers of other make need one.
pub const DEFAULT_TYPE: &str = "notification";

/// Where an event was published, and how its publisher hears what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The publishing node.
    pub node: Box<str>,
    /// That node's number for this publication; each node that delivers it answers with this number.
    pub reply: Option<u64>,
}

/// What an envelope tells of the event itself.
pub(super) struct Meta {
    pub(super) id: Uuid,
    pub(super) sender: Option<Box<Sender>>,
    pub(super) timestamp: SystemTime,
    pub(super) untyped: bool,
}

/// The field `fanfare`. Unknown fields are allowed, so that nodes of two versions understand each other.
#[derive(Serialize, Deserialize)]
struct Written {
    id: Uuid,
    node: Box<str>,
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untyped: bool,
}

/// Reads the field `fanfare`; `None` if it is not ours, and then the event is like any other publisher's.
pub(super) fn read(raw: &RawValue) -> Option<(Envelope, Meta)> {
    let written: Written = serde_json::from_str(raw.get()).ok()?;
    if written.node.len() > MAX_NAME_BYTES {
        return None;
    }
    let meta = Meta {
        id: written.id,
        sender: written.sender.map(|id| Sender::new(&id)),
        timestamp: humantime::parse_rfc3339(&written.timestamp).ok()?,
        untyped: written.untyped,
    };
    let envelope = Envelope {
        node: written.node,
        reply: written.reply,
    };
    Some((envelope, meta))
}

/// Writes `event` as it is published on Redis; the payload's bytes are the event's own.
pub fn encode(event: &Event, envelope: &Envelope) -> Bytes {
    let written = Written {
        id: event.id,
        node: envelope.node.clone(),
        timestamp: timestamp(event.timestamp).to_string(),
        sender: event.sender.as_ref().map(|sender| sender.id.clone()),
        reply: envelope.reply,
        untyped: event.kind.is_none(),
    };
    let mut out = Vec::with_capacity(event.data.bytes().len() + 256);
    out.extend_from_slice(br#"{"type":"#);
    write(&mut out, event.kind.as_deref().unwrap_or(DEFAULT_TYPE));
    out.extend_from_slice(br#","payload":"#);
    out.extend_from_slice(event.data.bytes());
    out.extend_from_slice(br#","fanfare":"#);
    write(&mut out, &written);
    out.push(b'}');
    out.into()
}

fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Strings, numbers and a struct of them written to memory: there is nothing that could fail.
    let _ = serde_json::to_writer(out, value);
}
