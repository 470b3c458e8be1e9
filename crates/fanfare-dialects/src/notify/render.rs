//! Renders an event: `{"type","payload","timestamp"}`.

use fanfare_core::{Audience, Event, Render, Rendering, timestamp};

use super::Notify;
use crate::text::quoted;

/// The type of an event that names none.
const DEFAULT_TYPE: &str = "notification";

impl Render for Notify {
    fn render(&self, event: &Event) -> Option<Rendering> {
        match event.audience {
            Audience::User(_) | Audience::Everyone => {}
            Audience::Channel(_) => return None,
        }
        let kind = quoted(event.kind.as_deref().unwrap_or(DEFAULT_TYPE));
        let payload = event.data.as_str();
        let mut text = String::with_capacity(kind.len() + payload.len() + 64);
        for part in [
            r#"{"type":"#,
            &kind,
            r#","payload":"#,
            payload,
            r#","timestamp":""#,
        ] {
            text.push_str(part);
        }
        text.push_str(&timestamp(event.timestamp).to_string());
        text.push_str("\"}");
        Some(Rendering::Text(text.into()))
    }
}
