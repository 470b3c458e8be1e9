//! What is published, and for whom.

use std::time::SystemTime;

use uuid::Uuid;

use crate::{Channel, RawJson, UserId};

/// Whom an event is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every connection of every dialect that shows such events.
    Everyone,
    /// Every connection that proved to be this user.
    User(UserId),
    /// Every connection subscribed to this channel.
    Channel(Channel),
}

/// One thing that happened, by whatever door it came in.
///
/// It is rendered once in each dialect that has a receiver, and never changes after it was published.
#[derive(Debug, Clone)]
pub struct Event {
    /// A UUID v7 made when the event came in, or the publisher's own.
    pub id: Uuid,
    /// The publisher's word for what happened; `None` lets each dialect use its own default.
    pub kind: Option<Box<str>>,
    /// Whom it is for.
    pub audience: Audience,
    /// What the publisher said, byte for byte.
    pub data: RawJson,
    /// Who sent it, where a sender was named.
    pub sender: Option<Box<str>>,
    /// When it came in.
    pub timestamp: SystemTime,
}

impl Event {
    /// A new event with a fresh id, stamped `now`.
    pub fn new(audience: Audience, kind: Option<&str>, data: RawJson, now: SystemTime) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind: kind.map(Into::into),
            audience,
            data,
            sender: None,
            timestamp: now,
        }
    }
}

/// Writes `time` as every dialect shows it: RFC 3339, UTC, milliseconds, `Z`.
pub fn timestamp(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(time)
}
