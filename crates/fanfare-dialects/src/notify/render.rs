//! Renders an event: `{"type","payload","timestamp"}`.

use fanfare_core::{Audience, Event, Render, Rendering, timestamp};

use super::Notify;
use crate::text::push_quoted;

const DEFAULT_TYPE: &str = "notification";

impl Render for Notify {
    fn render(&self, event: &Event) -> Option<Rendering> {
        match event.audience {
            Audience::User(_) | Audience::Everyone => {}
            Audience::Channel(_) => return None,
        }
        let kind = event.kind.as_deref().unwrap_or(DEFAULT_TYPE);
        let (data, time) = (event.data.bytes(), timestamp(event.timestamp));
        let around = br#"{"type":"","payload":,"timestamp":""}"#.len();
        // The exact length if the type has no escapes: a buffer with spare capacity would be copied to a second
        // allocation.
        let mut json = Vec::with_capacity(around + kind.len() + data.len() + time.as_bytes().len());
        json.extend_from_slice(br#"{"type":"#);
        push_quoted(&mut json, kind);
        json.extend_from_slice(br#","payload":"#);
        json.extend_from_slice(data);
        json.extend_from_slice(br#","timestamp":""#);
        json.extend_from_slice(time.as_bytes());
        json.extend_from_slice(br#""}"#);
        Some(Rendering::Text(json.into()))
    }
}
