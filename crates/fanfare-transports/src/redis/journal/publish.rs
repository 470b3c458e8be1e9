//! Publishes with the journal's script, and reads the place that it gives a message.

use fanfare_cluster::{
    transport::{Message, Subject},
    wire,
};
use fanfare_core::{
    history::{Epoch, Position, Retention},
    millis,
};
use redis::Cmd;

use super::{Connection, epoch, scripts};

/// The most messages in one call: Redis does nothing else meanwhile.
const MESSAGES: usize = 64;
/// The beginning of the field that the script adds to a message.
const FIELD: &[u8] = b",\"kept\":\"";
/// The length of the longest such field: an epoch, two numbers of 20 digits, and the characters between and around them.
const MAX_FIELD_BYTES: usize = FIELD.len() + 16 + 1 + 20 + 1 + 20 + 2;

/// Splits `messages` into runs that are published by one command each: one message, or some to be kept. The message with an id is the last
/// of its run, so that the note that it is published stands right behind it.
pub(in crate::redis) fn runs(messages: &[Message]) -> impl Iterator<Item = &[Message]> {
    let goes_on = |one: &Message, next: &Message| is_kept(one) && is_kept(next) && one.id.is_none();
    messages.chunk_by(goes_on).flat_map(|run| run.chunks(MESSAGES))
}

/// Returns whether the journal keeps `message`.
pub(in crate::redis) fn is_kept(message: &Message) -> bool {
    message.keep.is_some()
        && matches!(message.subject, Subject::Audience(_))
        // The script writes the place behind the last field.
        && message.payload.ends_with(b"}")
}

impl Connection {
    /// Returns the call that keeps and publishes `messages`.
    pub(in crate::redis) fn keep(&self, messages: &[Message], with_text: bool) -> Cmd {
        let mut call = self.call(&scripts::KEEP, with_text);
        self.add_messages(messages, &mut call);
        call
    }

    /// Adds the script's arguments for `messages`.
    pub(super) fn add_messages(&self, messages: &[Message], call: &mut Cmd) {
        call.arg(self.max_journals).arg(self.names.prefix());
        for message in messages {
            if let (Subject::Audience(audience), Some(Retention { size, ttl })) =
                (&message.subject, message.keep)
            {
                call.arg(wire::redis_channel(audience))
                    .arg(size)
                    .arg(millis(ttl))
                    .arg(&*message.payload);
            }
        }
    }
}

/// Returns the place that the script wrote into a message.
pub(in crate::redis) fn position(message: &[u8]) -> Option<Position> {
    let end = message.strip_suffix(b"\"}")?;
    let tail = &end[end.len().saturating_sub(MAX_FIELD_BYTES)..];
    let at = memchr::memmem::rfind(tail, FIELD)?;
    place(&tail[at + FIELD.len()..])
}

/// Reads a place as the script writes it.
pub(in crate::redis) fn place(text: &[u8]) -> Option<Position> {
    let place = std::str::from_utf8(text).ok()?;
    let mut words = place.split(' ');
    let mut next = || words.next();
    let epoch: Epoch = epoch(next()?)?;
    let (number, prev) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let position = Position { epoch, number, prev };
    (words.next().is_none() && prev < number).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_the_end_of_messages() {
        let place = Position {
            epoch: Epoch(0x1f),
            number: 20,
            prev: 7,
        };
        let long = format!(
            r#"{{"payload":"{}","kept":"000000000000001f 20 7"}}"#,
            "x".repeat(1000)
        );
        for (message, expected) in [
            (r#"{"type":"a","kept":"000000000000001f 20 7"}"#, Some(place)),
            (&long, Some(place)),
            (r#"{"type":"a"}"#, None),
            (r#"{"kept":"1 2 1"}"#, None),
            (r#"{"a":1,"kept":"1f 7 20"}"#, None),
            (r#"{"a":1,"kept":"1f 20 7 9"}"#, None),
            (r#"{"a":1,"kept":"1f 20"}"#, None),
            (r#"{"a":1,"kept":"x 20 7"}"#, None),
            (r#"{"a":{"b":1,"kept":"1f 20 7"}}"#, None),
            ("\"}", None),
            ("", None),
        ] {
            assert_eq!(position(message.as_bytes()), expected, "{message:.60}");
        }
    }
}
