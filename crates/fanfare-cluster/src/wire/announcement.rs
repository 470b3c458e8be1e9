//! The event that announces a change of a room's members, as it is published: in two parts, since its version is not known yet.

use bytes::Bytes;
use fanfare_core::{Event, Member, Presence};

use super::{Envelope, encode, presence::WrittenMark};

/// A message to publish on the room's channel ([`Subject::Audience`](crate::transport::Subject)), in two parts: the change's version in
/// decimal digits is written between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementText {
    /// Before the version.
    pub head: Bytes,
    /// After it.
    pub tail: Bytes,
}

/// Writes `event`, which announces that `member` has joined or left, as `node` publishes it; the version is not known yet.
pub fn announcement(
    event: &Event,
    node: &str,
    change: Presence,
    member: &Member,
    number: u64,
) -> AnnouncementText {
    let envelope = Envelope {
        node: node.into(),
        number: None,
        reply: false,
        presence: None,
        recorded: false,
    };
    let mut head = encode(event, &envelope).to_vec();
    let mut mark = WrittenMark::line(change, member, number).into_bytes();
    // One field more in the envelope, which is the last field, and one more in the mark.
    head.truncate(head.len().saturating_sub(2));
    mark.truncate(mark.len().saturating_sub(1));
    head.extend_from_slice(br#","presence":"#);
    head.extend_from_slice(&mark);
    head.extend_from_slice(br#","version":"#);
    AnnouncementText {
        head: head.into(),
        tail: "}}}".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::SystemTime;

    use fanfare_core::{Audience, Channel, RawJson, UserId};

    use super::*;
    use crate::wire::{PresenceMark, parse_event};

    fn member(user: &str) -> Member {
        Member {
            user: UserId::new(user).unwrap(),
            username: None,
            numeric: true,
            dialect: "rooms".into(),
        }
    }

    #[test]
    fn an_announcement_is_an_event_with_a_mark() {
        let audience = Audience::Channel(Channel::new("project:{1} x").unwrap());
        let data = RawJson::parse(&Bytes::from_static(br#"{"user_id":7}"#)).unwrap();
        for (change, metadata) in [(Presence::Joined, None), (Presence::Left, Some(data.clone()))] {
            let now = SystemTime::UNIX_EPOCH;
            let event = Event {
                metadata,
                ..Event::new(audience.clone(), Some("user_joined"), data.clone(), now)
            };
            let text = announcement(&event, "node", change, &member("7"), 3);
            let message = Bytes::from([&text.head[..], b"1764381976123456", &text.tail[..]].concat());
            let (read, envelope) = parse_event(audience.clone(), &message, now).unwrap();
            assert_eq!(
                (read.id, &read.data, &read.metadata),
                (event.id, &event.data, &event.metadata)
            );
            let mark = PresenceMark {
                change,
                member: member("7"),
                number: 3,
                version: 1_764_381_976_123_456,
            };
            let envelope = envelope.unwrap();
            assert_eq!(
                (&*envelope.node, envelope.number, envelope.reply),
                ("node", None, false)
            );
            assert_eq!(envelope.presence.as_deref(), Some(&mark));
        }
    }
}
