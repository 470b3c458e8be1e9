//! Renders the server's messages, their fields in the documented order.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_core::{Audience, Context, DialectFacts, Ending, Event, NodeFacts, Render, Rendering};
use serde_json::Value;
use uuid::Uuid;

use super::{Broadcast, fields::Fields, forms::uptime};

/// The types of all messages except events. Clients cannot publish events of these types.
const TYPES: &[&str] = &[
    "welcome",
    "test_notification",
    "system",
    "ping",
    "pong",
    "status_response",
    "error",
    "shutdown",
];

/// The sender of an event without a sender.
const SERVICE: &str = "notification_service";
/// The type of an event without a type.
pub(super) const DEFAULT_TYPE: &str = "custom";

impl Render for Broadcast {
    fn render(&self, event: &Event) -> Option<Rendering> {
        match event.audience {
            Audience::User(_) | Audience::Everyone => Some(notification(event).into()),
            Audience::Channel(_) => None,
        }
    }

    fn own_types(&self) -> &'static [&'static str] {
        TYPES
    }

    fn ping(&self, now: SystemTime) -> Option<Rendering> {
        Some(ping(now).into())
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(self.notification_interval).filter(|interval| !interval.is_zero())
    }

    fn tick(&self, count: u64, id: Uuid, node: &NodeFacts, own: &DialectFacts) -> Option<Rendering> {
        Some(test_notification(count, id, node, own).into())
    }

    fn drain_notice(&self, id: Uuid, now: SystemTime) -> Option<Rendering> {
        Some(system(id, now).into())
    }

    fn closing_message(&self, ending: Ending, now: SystemTime) -> Option<Rendering> {
        match ending {
            Ending::ShuttingDown => Some(shutdown(now).into()),
            Ending::TokenExpired
            | Ending::SlowConsumer
            | Ending::PingTimeout
            | Ending::RateLimited
            | Ending::SessionTerminated
            | Ending::Dismissed
            | Ending::InternalError => None,
        }
    }
}

pub(super) fn welcome(client_id: &str, interval_seconds: u64, context: &Context<'_>) -> Bytes {
    let mut fields = Fields::of_type("welcome")
        .text("message", "Connected to WebSocket Notification Server")
        .text("client_id", client_id)
        .time("server_time", context.now)
        .number("notification_interval", interval_seconds);
    if let Some(resumed) = context.resumed {
        fields = fields.raw("resume", &resumed.json());
    }
    fields.done().into()
}

fn notification(event: &Event) -> Bytes {
    let kind = event.kind.as_deref().unwrap_or(DEFAULT_TYPE);
    let sender = event.sender.as_ref().map_or(SERVICE, |sender| &sender.id);
    notice(event.id, kind, event.timestamp, event.data.as_str(), sender)
}

fn notice(id: Uuid, kind: &str, time: SystemTime, data: &str, sender: &str) -> Bytes {
    let fields = Fields::new()
        .text("id", &id.to_string())
        .text("type", kind)
        .time("timestamp", time)
        .raw("data", data)
        .text("sender", sender);
    fields.done().into()
}

/// Renders a test notification, which shows a client that its connection works. `count` is its number, starting at 1.
fn test_notification(count: u64, id: Uuid, node: &NodeFacts, own: &DialectFacts) -> Bytes {
    let data = Fields::new()
        .text("message", &format!("Test notification #{count}"))
        .number("counter", count)
        .raw("uptime_seconds", &Value::from(uptime(node)).to_string())
        .number("active_connections", own.active)
        .time("server_time", node.now);
    notice(id, "test_notification", node.now, &data.done(), SERVICE)
}

fn system(id: Uuid, now: SystemTime) -> Bytes {
    let data = Fields::new()
        .text("message", "Server is shutting down. Please reconnect later.")
        .text("priority", "high")
        .time("system_time", now);
    notice(id, "system", now, &data.done(), "system")
}

fn ping(now: SystemTime) -> Bytes {
    Fields::of_type("ping").time("timestamp", now).done().into()
}

pub(super) fn pong(now: SystemTime) -> Bytes {
    Fields::of_type("pong").time("timestamp", now).done().into()
}

pub(super) fn status_response(own: &DialectFacts, now: SystemTime) -> Bytes {
    let data = Fields::new()
        .number("active_connections", own.active)
        .number("total_connections", own.opened)
        .time("server_time", now);
    let fields = Fields::of_type("status_response")
        .raw("data", &data.done())
        .time("timestamp", now);
    fields.done().into()
}

pub(super) fn error(id: &str, message: &str, code: u16, now: SystemTime) -> Bytes {
    let fields = Fields::of_type("error")
        .text("error_id", id)
        .text("message", message)
        .number("code", code.into())
        .time("timestamp", now);
    fields.done().into()
}

/// Renders the last message before the server closes the connection to stop.
fn shutdown(now: SystemTime) -> Bytes {
    let fields = Fields::of_type("shutdown")
        .text("message", "Server is shutting down")
        .time("timestamp", now);
    fields.done().into()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_type_of_every_server_message_is_reserved() {
        let (now, own) = (SystemTime::UNIX_EPOCH, DialectFacts::default());
        let node = NodeFacts {
            now,
            uptime: Duration::ZERO,
            started_at: now,
            version: "",
            publications_received: 0,
            publications_rejected: 0,
            shards: 1,
        };
        let all = [
            welcome("", 0, &Context::new(now, Uuid::nil(), None)),
            test_notification(1, Uuid::nil(), &node, &own),
            system(Uuid::nil(), now),
            ping(now),
            pong(now),
            status_response(&own, now),
            error("", "", 0, now),
            shutdown(now),
        ];
        let types = all.map(|message| {
            let message: Value = serde_json::from_slice(&message).expect("JSON");
            message["type"].as_str().expect("a type").to_owned()
        });
        assert_eq!(types.as_slice(), TYPES);
    }
}
