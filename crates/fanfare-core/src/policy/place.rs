//! The names of rooms, and of channels with the messages of another place, `{feed}.channel.{place}`. If the place is a
//! room or a personal channel, its rules also apply to those channels.

use crate::event::personal_id;

/// The names of rooms and of the feed. Dialects and the server declare them; this crate contains none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames {
    /// The prefixes of rooms' names; the room's id follows.
    pub rooms: Vec<&'static str>,
    /// The channel of stored messages. It and the channels below it are not public by default.
    pub feed: Option<&'static str>,
}

/// A room or a personal channel, whose rules apply to its stored messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The room of this name.
    Room(&'a str),
    /// The personal channel of the user with this id.
    Personal(&'a str),
}

impl KnownNames {
    /// Returns `true` if `name` is the name of a room.
    pub fn is_room(&self, name: &str) -> bool {
        let mut prefixes = self.rooms.iter();
        prefixes.any(|prefix| name.strip_prefix(prefix).is_some_and(|id| !id.is_empty()))
    }

    /// Returns the place of this name; `None` for other channels.
    pub fn place<'a>(&self, name: &'a str) -> Option<Place<'a>> {
        match personal_id(name) {
            Some(user) => Some(Place::Personal(user)),
            None => self.is_room(name).then_some(Place::Room(name)),
        }
    }

    /// Returns the place whose messages are published on `channel`.
    pub(super) fn carried_place<'a>(&self, channel: &'a str) -> Option<Place<'a>> {
        self.place(channel.strip_prefix(self.feed?)?.strip_prefix(".channel.")?)
    }

    pub(super) fn is_of_feed(&self, channel: &str) -> bool {
        let rest = self.feed.and_then(|feed| channel.strip_prefix(feed));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> KnownNames {
        KnownNames {
            rooms: vec!["project:", "channel:", "task:"],
            feed: Some("messages"),
        }
    }

    #[test]
    fn a_room_has_a_known_prefix_and_an_id() {
        for (name, expected) in [
            ("project:123", true),
            ("channel:a.b:c", true),
            ("task:7", true),
            ("project.123", false),
            ("project", false),
            ("project:", false),
            ("projects:1", false),
            ("my.project:1", false),
            ("Project:1", false),
        ] {
            assert_eq!(names().is_room(name), expected, "{name}");
            assert!(!KnownNames::default().is_room(name), "{name}");
        }
    }

    #[test]
    fn a_channel_of_the_feed_has_the_messages_of_a_place() {
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
            assert_eq!(names().carried_place(channel), expected, "{channel}");
            assert_eq!(KnownNames::default().carried_place(channel), None, "{channel}");
        }
    }
}
