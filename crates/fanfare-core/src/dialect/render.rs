//! The form of the server's messages in a protocol.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Announcement, Audience, DialectFacts, Ending, Event, Member, NodeFacts, Presence, RawJson,
    history::{RESERVED_TYPES, Resumption},
};

/// One message to a client, without framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendering {
    /// A text message, in UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A part of a response's body, in each of the forms among which clients choose ([`Offer::form`](crate::Offer)).
    Forms([Bytes; 2]),
}

impl Rendering {
    /// Returns the message's payload; of several forms, the first.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
            Self::Forms([first, _]) => first,
        }
    }

    /// Returns the payload in `form`, if it has forms.
    pub fn form(&self, form: u8) -> &Bytes {
        match self {
            Self::Forms(forms) => &forms[usize::from(form) % forms.len()],
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Rendering {
    fn from(text: Bytes) -> Self {
        Self::Text(text)
    }
}

/// Renders the server's messages. A method that returns `None` sends nothing.
pub trait Render: Send + Sync {
    /// Returns the event as clients receive it; `None` if clients do not receive such events. Called once per event and
    /// node, however many connections receive it.
    fn render(&self, _event: &Event) -> Option<Rendering> {
        None
    }

    /// Returns the event in the form for clients that asked for cursors; `cursor` contains nothing to escape. Called
    /// once per event and node. By default, `cursor` is one more field, at the end of the JSON object.
    fn render_with_cursor(&self, event: &Event, cursor: &str) -> Option<Rendering> {
        Some(match self.render(event)? {
            Rendering::Text(text) => Rendering::Text(with_cursor(text, cursor)),
            other @ (Rendering::Binary(_) | Rendering::Forms(_)) => other,
        })
    }

    /// Returns the message to a connection that asked for cursors and missed events that can no longer be replayed. By
    /// default, an event for everyone of the type `resume`; `id` is a fresh id.
    fn missed(&self, resumption: &Resumption, id: Uuid, now: SystemTime) -> Option<Rendering> {
        let data = RawJson::parse(&resumption.json().into()).ok()?;
        let event = Event::new(Audience::Everyone, Some(RESERVED_TYPES[0]), data, now);
        self.render(&Event { id, ..event })
    }

    /// Returns the event types of the protocol's own messages. Clients of no dialect may publish them.
    fn own_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the server's event in a room when `member` joins it with a first connection, or leaves it with the last.
    /// The connection's own reply precedes it.
    fn announce(&self, _change: Presence, _member: &Member) -> Option<Announcement> {
        None
    }

    /// Returns the message to a connection besides a WebSocket ping.
    fn ping(&self, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns how often [`tick`](Self::tick) is called; `None` for never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Returns the message to all connections of this dialect at the tick `count`, which begins at 1; `id` is a fresh
    /// id.
    fn tick(&self, _count: u64, _id: Uuid, _node: &NodeFacts, _own: &DialectFacts) -> Option<Rendering> {
        None
    }

    /// Returns the message to all connections of this dialect when a drain begins; `id` is a fresh id.
    fn drain_notice(&self, _id: Uuid, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns the message to a connection before the close frame of `ending`.
    fn last_words(&self, _ending: Ending, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns the close code and reason of `ending`.
    fn end(&self, ending: Ending) -> (u16, &'static str) {
        ending.close()
    }
}

/// Adds the field `cursor` at the end of an object; leaves any other text as it is.
fn with_cursor(text: Bytes, cursor: &str) -> Bytes {
    let Some(fields) = text.strip_suffix(b"}") else {
        return text;
    };
    let comma: &[u8] = if fields.ends_with(b"{") { b"" } else { b"," };
    [fields, comma, br#""cursor":""#, cursor.as_bytes(), br#""}"#]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_last_field() {
        for (text, expected) in [
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":1},"cursor":"c"}"#),
            ("{}", r#"{"cursor":"c"}"#),
            ("[1]", "[1]"),
            ("", ""),
        ] {
            assert_eq!(with_cursor(text.into(), "c"), expected, "{text}");
        }
    }
}
