//! Renders an event: `CHANNEL NUL DATA` in binary. A user's own events have no channel.

use fanfare_core::{Announcement, Audience, Event, Member, Presence, RawJson, Render, Rendering};
use serde_json::Value;

use super::Line;

impl Render for Line {
    fn render(&self, event: &Event) -> Option<Rendering> {
        let channel: &[u8] = match &event.audience {
            Audience::Channel(channel) => channel.as_bytes(),
            Audience::User(_) => b"",
            Audience::Everyone => return None,
        };
        Some(Rendering::Binary(
            [channel, b"\0", event.data.bytes()].concat().into(),
        ))
    }

    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let (kind, sign) = match change {
            Presence::Joined => ("joined", '+'),
            Presence::Left => ("left", '-'),
        };
        let data = Value::from(format!("{sign}{}", member.user)).to_string();
        RawJson::parse(&data.into())
            .ok()
            .map(|data| Announcement { kind, data })
    }
}
