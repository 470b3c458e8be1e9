//! What is published, and for whom.

use std::time::SystemTime;

use uuid::Uuid;

use crate::{BadName, Channel, RawJson, UserId};

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

/// The channel that shows what is sent to everyone.
pub const EVERYONE_CHANNEL: &str = "notifications";

/// What the names of a user's personal channel begin with; the user's id follows.
const PERSONAL: [&str; 3] = ["notifications.user.", "user:", "user_noti:"];

impl Audience {
    /// Whom a channel's name addresses: the user, where it is one of the names of a personal channel
    /// (`notifications.user.{id}`, `user:{id}`, `user_noti:{id}`), else the channel's subscribers.
    ///
    /// # Errors
    /// When it is no name.
    pub fn of_channel(name: &str) -> Result<Self, BadName> {
        match personal_id(name) {
            Some(user) => UserId::new(user).map(Self::User),
            None => Channel::new(name).map(Self::Channel),
        }
    }
}

/// Whose personal channel this is a name of.
pub(crate) fn personal_id(name: &str) -> Option<&str> {
    PERSONAL.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// The name under which a user's personal channel is shown: `notifications.user.{id}`.
pub fn personal_channel(user: &UserId) -> String {
    format!("{}{user}", PERSONAL[0])
}

/// All names of a user's personal channel.
pub fn personal_names(user: &UserId) -> impl Iterator<Item = String> {
    PERSONAL.iter().map(move |prefix| format!("{prefix}{user}"))
}

/// One thing that happened, by whatever door it came in.
///
/// It is rendered once in each dialect that has a receiver, and never changes after it was published.
#[derive(Debug, Clone)]
pub struct Event {
    /// A UUID v7 made when the event came in, or the publisher's own.
    pub id: Uuid,
    /// Whether the id is the publisher's own, so that a repeat of it is not published again.
    pub named: bool,
    /// The publisher's word for what happened; `None` lets each dialect use its own default.
    pub kind: Option<Box<str>>,
    /// Whom it is for.
    pub audience: Audience,
    /// What the publisher said, byte for byte.
    pub data: RawJson,
    /// What the publisher said about it: a JSON object.
    pub metadata: Option<RawJson>,
    /// Who sent it, where a sender was named.
    pub sender: Option<Box<Sender>>,
    /// When it came in.
    pub timestamp: SystemTime,
    /// Where this is set, only these users and admins receive it, whatever the audience.
    pub private_to: Option<Box<[UserId]>>,
    /// Where it is private to some, and for a channel, those who may read this other channel receive it as well. Without
    /// `private_to` it says nothing: whoever does not know of this field takes the event for one more private than it is.
    pub readers_of: Option<Channel>,
}

/// Who sent an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The user's id, or what a service calls itself.
    pub id: Box<str>,
    /// What to call the user, where that is something else.
    pub username: Option<Box<str>>,
    /// The connection it was sent from, where it was sent from one.
    pub connection: Option<Uuid>,
}

impl Sender {
    /// A sender of that id, of whom nothing else is known.
    pub fn new(id: &str) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            username: None,
            connection: None,
        })
    }

    /// What to call it: the username, else the id.
    pub fn name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }
}

impl Event {
    /// A new event with a fresh id, stamped `now`.
    pub fn new(audience: Audience, kind: Option<&str>, data: RawJson, now: SystemTime) -> Self {
        Self {
            id: Uuid::now_v7(),
            named: false,
            kind: kind.map(Into::into),
            audience,
            data,
            metadata: None,
            sender: None,
            timestamp: now,
            private_to: None,
            readers_of: None,
        }
    }
}

/// Writes `time` as every dialect shows it: RFC 3339, UTC, milliseconds, `Z`.
pub fn timestamp(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(time)
}

/// The same with microseconds, for the few places where a protocol has them.
pub fn timestamp_micros(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_micros(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_channels_have_three_names() {
        let alice = Audience::User(UserId::new("al.ice:1").expect("a name"));
        for name in [
            "notifications.user.al.ice:1",
            "user:al.ice:1",
            "user_noti:al.ice:1",
        ] {
            assert_eq!(Audience::of_channel(name), Ok(alice.clone()), "{name}");
        }
        for name in [
            "notifications",
            "notifications.user",
            "users:1",
            "project:123",
            "my.user:1",
        ] {
            assert!(
                matches!(Audience::of_channel(name), Ok(Audience::Channel(_))),
                "{name}"
            );
        }
        assert_eq!(Audience::of_channel("user:"), Err(BadName::Empty));
    }
}
