//! The channels that carry messages of another place: `messages.channel.{place}`. If the place is a room or a
//! personal channel, its own rules hold for them, too.

use crate::{event::personal_id, names::is_room};

/// The prefix of such a channel's name; the place follows.
const FEED: &str = "messages.channel.";

/// A channel whose rules hold for the messages written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The room of this name.
    Room(&'a str),
    /// The personal channel of the user with this id.
    Personal(&'a str),
}

impl<'a> Place<'a> {
    /// Returns the place of this name; `None` if its rules hold for nothing but itself.
    pub fn of(name: &'a str) -> Option<Self> {
        match personal_id(name) {
            Some(user) => Some(Self::Personal(user)),
            None => is_room(name).then_some(Self::Room(name)),
        }
    }

    /// Returns the place whose messages the channel of this name carries.
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
