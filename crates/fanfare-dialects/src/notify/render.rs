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
        let time = timestamp(event.timestamp);
        let parts = [
            br#"{"type":"#,
            kind.as_bytes(),
            br#","payload":"#,
            event.data.bytes(),
            br#","timestamp":""#,
            time.as_bytes(),
            br#""}"#,
        ];
        Some(Rendering::Text(parts.concat().into()))
    }
}
