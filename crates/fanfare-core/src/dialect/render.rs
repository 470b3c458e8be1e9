//! How what the server sends looks in a protocol.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{Announcement, DialectFacts, Ending, Event, Member, NodeFacts, Presence};

/// One message to a client, without framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendering {
    /// A text message, in UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

impl Rendering {
    /// Returns the message's payload.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Rendering {
    fn from(text: Bytes) -> Self {
        Self::Text(text)
    }
}

/// Renders what the server sends. A method that returns `None` sends nothing.
pub trait Render: Send + Sync {
    /// Returns the event as clients receive it; `None` if clients do not receive such events. Called once per event and
    /// node, however many connections receive it.
    fn render(&self, event: &Event) -> Option<Rendering> {
        let _ = event;
        None
    }

    /// The event types of the protocol's own messages. Clients of no dialect may publish them.
    fn own_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns what the server publishes in a room when `member` joins it with a first connection, or leaves it with the last.
    /// The connection's own reply comes before it.
    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let _ = (change, member);
        None
    }

    /// Returns what a connection is sent besides a WebSocket ping.
    fn ping(&self, now: SystemTime) -> Option<Rendering> {
        let _ = now;
        None
    }

    /// How often [`tick`](Self::tick) is called; `None` for never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Returns what all connections of this dialect are sent now. `count` is the tick's number, starting at 1; `id` is a fresh id.
    fn tick(&self, count: u64, id: Uuid, node: &NodeFacts, own: &DialectFacts) -> Option<Rendering> {
        let _ = (count, id, node, own);
        None
    }

    /// Returns what all connections of this dialect are sent when a drain begins; `id` is a fresh id.
    fn drain_notice(&self, id: Uuid, now: SystemTime) -> Option<Rendering> {
        let _ = (id, now);
        None
    }

    /// Returns what a connection is sent before the close frame of `ending`.
    fn last_words(&self, ending: Ending, now: SystemTime) -> Option<Rendering> {
        let _ = (ending, now);
        None
    }

    /// Returns the close code and reason of `ending`.
    fn end(&self, ending: Ending) -> (u16, &'static str) {
        ending.close()
    }
}
