//! The event that announces a change of a room's members. It is written in two parts, because its version is still unknown.

use bytes::Bytes;
use fanfare_core::{Event, Member, Presence};

use super::{Envelope, encode, presence::WrittenMark};

/// A message for the room's channel ([`Subject::Audience`](crate::transport::Subject)), in two parts. The store writes the change's version
/// between them, in decimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementText {
    /// The part before the version.
    pub head: Bytes,
    /// The part after it.
    pub tail: Bytes,
}

/// Writes `event`, by which `node` announces that `member` joined or left.
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
    // Adds a field to the envelope, which is the last field, and a field to the mark.
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
