//! The port that renders the server's messages in a protocol.

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
    /// A part of a response's body, in both forms. A client chooses one ([`Offer::form`](crate::Offer)).
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
    /// Returns the message of an event; `None` if clients do not receive such events. It is called once per event and node,
    /// for all receivers.
    fn render(&self, _event: &Event) -> Option<Rendering> {
        None
    }

    /// Returns the message of an event for clients that requested cursors. `cursor` needs no escapes. It is called once per
    /// event and node. By default, it appends the field `cursor` to the JSON object.
    fn render_with_cursor(&self, event: &Event, cursor: &str) -> Option<Rendering> {
        Some(match self.render(event)? {
            Rendering::Text(text) => Rendering::Text(with_cursor(text, cursor)),
            other @ (Rendering::Binary(_) | Rendering::Forms(_)) => other,
        })
    }

    /// Returns the message to a connection with cursors that missed events which cannot be replayed. By default, it is an
    /// event for everyone of the type `resume`. `id` is a fresh id.
    fn missed(&self, resumption: &Resumption, id: Uuid, now: SystemTime) -> Option<Rendering> {
        let data = RawJson::parse(&resumption.json().into()).ok()?;
        let event = Event::new(Audience::Everyone, Some(RESERVED_TYPES[0]), data, now);
        self.render(&Event { id, ..event })
    }

    /// Returns the event types of the protocol's messages. No client of any dialect may publish them.
    fn own_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the server's event in a room when `member` joins it with the first connection, or leaves it with the last
    /// one. The reply to that connection precedes it.
    fn announce(&self, _change: Presence, _member: &Member) -> Option<Announcement> {
        None
    }

    /// Returns the message that is sent with each WebSocket ping.
    fn ping(&self, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns the time between two calls of [`tick`](Self::tick); `None` for no calls.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Returns the message to all connections of this dialect at the tick `count`, starting at 1. `id` is a fresh id.
    fn tick(&self, _count: u64, _id: Uuid, _node: &NodeFacts, _own: &DialectFacts) -> Option<Rendering> {
        None
    }

    /// Returns the message to all connections of this dialect at the start of a drain. `id` is a fresh id.
    fn drain_notice(&self, _id: Uuid, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns the message before the close frame of `ending`.
    fn closing_message(&self, _ending: Ending, _now: SystemTime) -> Option<Rendering> {
        None
    }

    /// Returns the close code and reason of `ending`.
    fn end(&self, ending: Ending) -> (u16, &'static str) {
        ending.close()
    }
}

/// Appends the field `cursor` to an object. Returns any other text unchanged.
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
