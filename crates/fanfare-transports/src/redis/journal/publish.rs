//! Publishes with the journal's script, and reads the position that the script gives a message.

use fanfare_cluster::{
    transport::{Message, Subject},
    wire,
};
use fanfare_core::{
    history::{Position, Retention},
    millis,
};
use redis::Cmd;

use super::{Connection, scripts};
use crate::journal_reads::epoch;

/// The most messages in one call: Redis does nothing else during the call.
const MESSAGES: usize = 64;
/// The beginning of the field with the position, which the script adds to a message.
const FIELD: &[u8] = b",\"kept\":\"";
/// The length of the longest such field: an epoch, two numbers of 20 digits, and the characters between and around them.
const MAX_FIELD_BYTES: usize = FIELD.len() + 16 + 1 + 20 + 1 + 20 + 2;

/// Splits `messages` into runs that are published by one command each: one message, or several kept ones. A message with an id is the last
/// of its run, so that the command that notes its publication follows at once.
pub(in crate::redis) fn runs(messages: &[Message]) -> impl Iterator<Item = &[Message]> {
    let continues = |one: &Message, next: &Message| is_kept(one) && is_kept(next) && one.id.is_none();
    messages.chunk_by(continues).flat_map(|run| run.chunks(MESSAGES))
}

/// Returns whether the journal keeps `message`.
pub(in crate::redis) fn is_kept(message: &Message) -> bool {
    message.keep.is_some()
        && matches!(message.subject, Subject::Audience(_))
        // The script appends the position to the last field.
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

/// Returns the position that the script wrote into a message.
pub(in crate::redis) fn position(message: &[u8]) -> Option<Position> {
    let end = message.strip_suffix(b"\"}")?;
    let tail = &end[end.len().saturating_sub(MAX_FIELD_BYTES)..];
    let at = memchr::memmem::rfind(tail, FIELD)?;
    read_position(&tail[at + FIELD.len()..])
}

/// Reads a position in the script's form.
pub(in crate::redis) fn read_position(text: &[u8]) -> Option<Position> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let mut next = || words.next();
    let epoch = epoch(next()?)?;
    let (number, prev) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let position = Position { epoch, number, prev };
    (words.next().is_none() && prev < number).then_some(position)
}

#[cfg(test)]
mod tests {
    use fanfare_core::history::Epoch;

    use super::*;

    #[test]
    fn positions_are_read_from_the_end_of_messages() {
        let expected_position = Position {
            epoch: Epoch(0x1f),
            number: 20,
            prev: 7,
        };
        let long = format!(
            r#"{{"payload":"{}","kept":"000000000000001f 20 7"}}"#,
            "x".repeat(1000)
        );
        for (message, expected) in [
            (
                r#"{"type":"a","kept":"000000000000001f 20 7"}"#,
                Some(expected_position),
            ),
            (&long, Some(expected_position)),
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
