//! Events, and their audiences.

use std::{
    borrow::Cow,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::{Builder, Uuid};

use crate::{BadName, Channel, RawJson, UserId, history::History, locked};

/// The connections that should receive an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every connection of the dialects that receive such events.
    Everyone,
    /// Every connection of this verified user.
    User(UserId),
    /// Every connection that is subscribed to this channel.
    Channel(Channel),
}

/// The channel whose subscribers also receive events for everyone.
pub const EVERYONE_CHANNEL: &str = "notifications";

/// The prefixes of a personal channel's names; the user's id follows.
const PERSONAL: [&str; 3] = ["notifications.user.", "user:", "user_noti:"];

impl Audience {
    /// Returns the audience of a channel's name: the user, if it is a name of a personal channel
    /// (`notifications.user.{id}`, `user:{id}`, `user_noti:{id}`), else the channel.
    ///
    /// # Errors
    /// If it is not a name.
    pub fn of_channel(name: &str) -> Result<Self, BadName> {
        match personal_id(name) {
            Some(user) => UserId::new(user).map(Self::User),
            None => Channel::new(name).map(Self::Channel),
        }
    }

    /// Returns the name of the channel that shows its events.
    pub fn channel_name(&self) -> Cow<'_, str> {
        match self {
            Self::Channel(channel) => Cow::Borrowed(channel),
            Self::Everyone => Cow::Borrowed(EVERYONE_CHANNEL),
            Self::User(user) => Cow::Owned(personal_channel(user)),
        }
    }

    /// Returns the user or the channel as a pair; both are `None` for everyone.
    pub fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::User(user) => (Some(user), None),
            Self::Channel(channel) => (None, Some(channel)),
            Self::Everyone => (None, None),
        }
    }
}

pub(crate) fn personal_id(name: &str) -> Option<&str> {
    PERSONAL.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// Returns the canonical name of a user's personal channel: `notifications.user.{id}`.
pub fn personal_channel(user: &UserId) -> String {
    format!("{}{user}", PERSONAL[0])
}

/// Returns all names of a user's personal channel.
pub fn personal_names(user: &UserId) -> impl Iterator<Item = String> {
    PERSONAL.iter().map(move |prefix| format!("{prefix}{user}"))
}

/// A published event. It is immutable, and each dialect with a receiver renders it once.
#[derive(Debug, Clone)]
pub struct Event {
    /// The publisher's id, or a UUID v7 of the publication.
    pub id: Uuid,
    /// Whether the publisher chose the id, so that it is an idempotency key.
    pub named: bool,
    /// The event's type; `None` means the default of each dialect.
    pub kind: Option<Box<str>>,
    /// The connections that should receive it.
    pub audience: Audience,
    /// The publisher's data, byte for byte.
    pub data: RawJson,
    /// The publisher's metadata: a JSON object.
    pub metadata: Option<RawJson>,
    /// The sender, if the publisher named one.
    pub sender: Option<Box<Sender>>,
    /// The time of the publication.
    pub timestamp: SystemTime,
    /// If set, only these users and admins of the audience receive it.
    pub private_to: Option<Box<[UserId]>>,
    /// With `private_to` on a channel, users who may read this other channel also receive it. Without `private_to` it has
    /// no effect. So a node of a version without this field treats the event as more private, never as less.
    pub readers_of: Option<Channel>,
    /// If set, this connection does not receive it.
    pub except: Option<Uuid>,
    /// Whether the event is kept for clients that resume.
    pub history: History,
    /// The trace of the event, as a W3C `traceparent`.
    pub traceparent: Option<Box<str>>,
}

/// The maximum length of a forwarded `traceparent` in bytes, which is that of version 00.
const MAX_TRACEPARENT_BYTES: usize = 55;

/// The sender of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The user's id, or the name of a service.
    pub id: Box<str>,
    /// The display name, if it differs from the id.
    pub username: Option<Box<str>>,
    /// The connection that published the event, if one did.
    pub connection: Option<Uuid>,
}

impl Sender {
    /// Returns a sender with only an id.
    pub fn new(id: &str) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            username: None,
            connection: None,
        })
    }

    /// Returns the username, else the id.
    pub fn name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }
}

/// Returns a UUID v7 of the time `now`, greater than all before it. The first of a millisecond is random, and each further one is the
/// next number. That has a tenth of the cost of `Uuid::new_v7`, whose 400 instructions are a sixteenth of a unicast.
fn new_id(now: SystemTime) -> Uuid {
    static LAST: Mutex<Uuid> = Mutex::new(Uuid::nil());
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = since.as_secs() * 1000 + u64::from(since.subsec_millis());
    let mut last = locked(&LAST);
    *last = if last.is_nil() || u128::from(ms) > last.as_u128() >> 80 {
        let mut random = [0; 10];
        random.copy_from_slice(&Uuid::new_v4().as_bytes()[6..]);
        Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    } else {
        Uuid::from_u128(last.as_u128() + 1)
    };
    *last
}

impl Event {
    /// Returns a new event of the time `now`, with a fresh id.
    pub fn new(audience: Audience, kind: Option<&str>, data: RawJson, now: SystemTime) -> Self {
        Self {
            id: new_id(now),
            named: false,
            kind: kind.map(Into::into),
            audience,
            data,
            metadata: None,
            sender: None,
            timestamp: now,
            private_to: None,
            readers_of: None,
            except: None,
            history: History::None,
            traceparent: None,
        }
    }

    /// Returns `text` for [`Event::traceparent`], if it is short enough. The recorder of spans parses it.
    pub fn traceparent_of(text: &str) -> Option<Box<str>> {
        (text.len() <= MAX_TRACEPARENT_BYTES && text.is_ascii()).then(|| text.into())
    }
}

/// Formats `time` with microseconds, where a protocol requires them.
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
