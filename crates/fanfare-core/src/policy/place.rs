//! The channels that tell of messages written somewhere else: `messages.channel.{place}`. Where the place is a room or
//! somebody's personal channel, its own rules guard them, too.

use crate::{event::personal_id, names::is_room};

/// What the name of such a channel begins with; the place follows.
const FEED: &str = "messages.channel.";

/// A channel that guards the messages written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// A room of this name.
    Room(&'a str),
    /// The personal channel of the user with this id.
    Personal(&'a str),
}

impl<'a> Place<'a> {
    /// What the channel of this name is; `None` where it guards nothing but itself.
    pub fn of(name: &'a str) -> Option<Self> {
        match personal_id(name) {
            Some(user) => Some(Self::Personal(user)),
            None => is_room(name).then_some(Self::Room(name)),
        }
    }

    /// Of which place the channel of this name tells.
    pub(super) fn told_of_by(channel: &'a str) -> Option<Self> {
        Self::of(channel.strip_prefix(FEED)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (channel, expected) in [
            ("messages.channel.project:9", Some(Place::Room("project:9"))),
            ("messages.channel.user:a:b", Some(Place::Personal("a:b"))),
            ("messages.channel.user_noti:7", Some(Place::Personal("7"))),
            (
                "messages.channel.notifications.user.a.b",
                Some(Place::Personal("a.b")),
            ),
            ("messages.channel.general", None),
            ("messages.channel.project:", None),
            ("messages.channel.project.9", None),
            ("messages.user.project:9", None),
            ("messages:channel:project:9", None),
            ("project:9", None),
        ] {
            assert_eq!(Place::told_of_by(channel), expected, "{channel}");
        }
    }
}
