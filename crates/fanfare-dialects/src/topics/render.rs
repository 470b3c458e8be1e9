//! Renders an event for a subscriber.

use fanfare_core::{Audience, EVERYONE_CHANNEL, Event, Render, Rendering, personal_channel, timestamp};

use super::{Topics, metadata};
use crate::text::quoted;

/// The type of an event that names none.
const DEFAULT_TYPE: &str = "message";

impl Render for Topics {
    /// Renders the event as a `message`; its data as it was published.
    fn render(&self, event: &Event) -> Option<Rendering> {
        let personal;
        let topic: &str = match &event.audience {
            Audience::Channel(channel) => channel,
            Audience::Everyone => EVERYONE_CHANNEL,
            Audience::User(user) => {
                personal = personal_channel(user);
                &personal
            }
        };
        let topic = quoted(topic);
        let kind = quoted(event.kind.as_deref().unwrap_or(DEFAULT_TYPE));
        let about = about(event);
        let time = timestamp(event.timestamp);
        let parts = [
            br#"{"type":"message","topic":"#,
            topic.as_bytes(),
            br#","eventType":"#,
            kind.as_bytes(),
            br#","data":"#,
            event.data.bytes(),
            br#","metadata":{"#,
            about.as_bytes(),
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

/// Returns the members of `metadata`: the publisher's, then the server's about the sender.
fn about(event: &Event) -> String {
    let metadata = event.metadata.as_ref();
    let mut members = metadata
        .and_then(|metadata| metadata::members(metadata.as_str()))
        .unwrap_or_default();
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
