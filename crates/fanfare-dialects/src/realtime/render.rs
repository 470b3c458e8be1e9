//! Renders the server's messages: `{"type","data","timestamp"}`, the timestamp in milliseconds since 1970.
//! Payloads are copied byte for byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_core::{Audience, Context, EVERYONE_CHANNEL, Event, Render, Rendering, Step};
use serde_json::json;
use uuid::Uuid;

use super::{Realtime, frames::FrameError};
use crate::text::{quoted, resume_field};

impl Render for Realtime {
    fn render(&self, event: &Event) -> Option<Rendering> {
        Some(self::event(event).into())
    }

    /// `Broadcast` and `DirectMessage` are not reserved: they carry clients' messages.
    fn own_types(&self) -> &'static [&'static str] {
        &["Status", "Ack", "Error", "Pong"]
    }
}

fn event(event: &Event) -> Bytes {
    let payload = event.data.bytes();
    let topic = match &event.audience {
        Audience::User(_) => {
            let from = event.sender.as_ref().map(|sender| quoted(&sender.id));
            let from = from.as_deref().unwrap_or("null").as_bytes();
            let data = [br#"{"from_user":"#, from, br#","payload":"#, payload, b"}"];
            return frame("DirectMessage", &data, event.timestamp);
        }
        Audience::Everyone => EVERYONE_CHANNEL,
        Audience::Channel(channel) => channel,
    };
    let topic = quoted(topic);
    let head = br#"{"topic":"#;
    let data = [head, topic.as_bytes(), br#","payload":"#, payload, b"}"];
    frame("Broadcast", &data, event.timestamp)
}

pub(super) fn welcome(context: &Context<'_>) -> Step {
    let (connection, server_time) = (context.connection, since_1970(context.now).as_secs());
    let details =
        format!(r#""connection_id":"{connection}","server_time":{server_time},"protocol_version":"1.0""#);
    status("connected", &details, context)
}

/// Renders the confirmation that these topics, a JSON list, are `subscribed` or `unsubscribed`.
pub(super) fn confirmed(status: &str, topics: &str, context: &Context<'_>) -> Step {
    self::status(status, &format!(r#""topics":{topics}"#), context)
}

pub(super) fn ack(message_id: Uuid, now: SystemTime) -> Step {
    reply("Ack", &format!(r#"{{"message_id":"{message_id}"}}"#), now)
}

/// Renders a pong: with the ping's own timestamp, which is JSON, else the server's time.
pub(super) fn pong(timestamp: Option<&str>, now: SystemTime) -> Step {
    let data = match timestamp {
        Some(timestamp) => format!(r#"{{"timestamp":{timestamp}}}"#),
        None => format!(r#"{{"timestamp":{}}}"#, since_1970(now).as_millis()),
    };
    reply("Pong", &data, now)
}

pub(super) fn error(problem: &FrameError, now: SystemTime) -> Step {
    let data = json!({ "code": problem.code, "message": problem.message });
    reply("Error", &data.to_string(), now)
}

/// Renders a status with these members of its details, and the answer to a resume.
fn status(status: &str, details: &str, context: &Context<'_>) -> Step {
    let resume = resume_field(context);
    let data = format!(r#"{{"status":"{status}","details":{{{details}{resume}}}}}"#);
    reply("Status", &data, context.now)
}

fn reply(kind: &str, data: &str, now: SystemTime) -> Step {
    Step::text(frame(kind, &[data.as_bytes()], now))
}

/// Renders a message. `data` are the parts of one JSON text; `kind` needs no escapes.
fn frame(kind: &str, data: &[&[u8]], time: SystemTime) -> Bytes {
    let time = since_1970(time).as_millis().to_string();
    let mut parts = vec![br#"{"type":""#.as_slice(), kind.as_bytes(), br#"","data":"#];
    parts.extend_from_slice(data);
    parts.extend([br#","timestamp":"#.as_slice(), time.as_bytes(), b"}"]);
    parts.concat().into()
}

/// A clock set to before 1970 counts as 1970.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
