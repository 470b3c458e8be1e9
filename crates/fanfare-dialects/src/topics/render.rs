//! Renders an event for a subscriber.

use fanfare_core::{Event, Render, Rendering, timestamp};

use super::{Topics, metadata};
use crate::text::quoted;

const DEFAULT_TYPE: &str = "message";

impl Render for Topics {
    /// Renders the event as a `message`, with its data as published.
    fn render(&self, event: &Event) -> Option<Rendering> {
        let topic = quoted(&event.audience.channel_name());
        let kind = quoted(event.kind.as_deref().unwrap_or(DEFAULT_TYPE));
        let metadata = metadata_members(event);
        let time = timestamp(event.timestamp);
        let parts = [
            br#"{"type":"message","topic":"#,
            topic.as_bytes(),
            br#","eventType":"#,
            kind.as_bytes(),
            br#","data":"#,
            event.data.bytes(),
            br#","metadata":{"#,
            metadata.as_bytes(),
            br#"},"timestamp":""#,
            time.as_bytes(),
            br#""}"#,
        ];
        Some(Rendering::Text(parts.concat().into()))
    }

    fn own_types(&self) -> &'static [&'static str] {
        &[
            "auth_success",
            "auth_error",
            "subscribed",
            "unsubscribed",
            "error",
            "pong",
            "message.sent",
        ]
    }
}

/// Returns the members of `metadata`: those of the publisher, then those of the server about the sender.
fn metadata_members(event: &Event) -> String {
    let own = event.metadata.as_ref();
    let own = own.and_then(|own| metadata::members(own.as_str()));
    let mut members = own.unwrap_or_default();
    let Some(sender) = &event.sender else {
        return members;
    };
    add(&mut members, metadata::SENDER, &quoted(&sender.id));
    if let Some(connection) = sender.connection {
        add(&mut members, metadata::CONNECTION, &format!("\"{connection}\""));
    }
    members
}

fn add(members: &mut String, name: &str, value: &str) {
    let comma = if members.trim_ascii().is_empty() { "" } else { "," };
    members.extend([comma, "\"", name, "\":", value]);
}
