//! A client's request for the events that it missed, and the answer.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::Cursor;
use crate::{RawObject, ending::labelled, parse_duration, string};

/// The event types of the server's messages about history, which no door accepts.
pub const RESERVED_TYPES: [&str; 2] = ["resume", "stream.end"];

/// The place from which a client requests events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The present: only new events.
    Now,
    /// All events after this cursor.
    Cursor(Cursor),
    /// An invalid cursor.
    Unknown,
    /// This number of the newest events.
    Newest(u32),
    /// The events that are no older than this.
    Within(Duration),
}

labelled! {
    /// The reason why the missed events cannot be replayed to a client.
    Unrecovered {
        /// An event after the cursor is no longer kept, no history is configured, or the broker is unavailable.
        Expired = "expired",
        /// The cursor is of another journal.
        Epoch = "epoch",
        /// The client missed more events than one resume may replay.
        Limit = "limit",
        /// The text is not a cursor.
        Unknown = "unknown",
    }
}

/// The answer to a client that resumes: the resume object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// The place after which the connection receives all events; `None` if the journal is unavailable.
    pub cursor: Option<Cursor>,
    /// The number of events that follow, or the reason why none do.
    pub replayed: Result<usize, Unrecovered>,
}

impl Since {
    /// Parses the `resume` of a client; an empty text is [`Since::Now`].
    pub fn resume(text: &str) -> Self {
        if text.is_empty() {
            return Self::Now;
        }
        text.parse().map_or(Self::Unknown, Self::Cursor)
    }

    /// Parses the `rewind` of a client: a number of events, or a duration such as `5m`.
    pub fn rewind(text: &str) -> Self {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Newest(text.parse().unwrap_or(u32::MAX)); // more than any limit
        }
        parse_duration(text).map_or(Self::Unknown, Self::Within)
    }

    /// Parses a client's parameters `resume` and `rewind`; `None` if both are missing. `resume` takes precedence.
    pub fn of(resume: Option<&str>, rewind: Option<&str>) -> Option<Self> {
        let rewind = || rewind.map(Self::rewind);
        resume.map(Self::resume).or_else(rewind)
    }

    /// Parses the fields `resume` and `rewind` of a client's message; `rewind` may also be a number.
    pub fn given(message: &RawObject<'_>) -> Option<Self> {
        if let Some(resume) = message.given("resume") {
            return Some(string(resume).map_or(Self::Unknown, |text| Self::resume(&text)));
        }
        let rewind = message.given("rewind")?;
        Some(string(rewind).map_or_else(|| Self::rewind(rewind.get()), |text| Self::rewind(&text)))
    }
}

impl Resumption {
    /// Returns it as JSON.
    pub fn json(&self) -> String {
        // Strings, a number and a boolean always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Resumption {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let cursor = self.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let mut object = to.serialize_struct("Resumption", 4)?;
        object.serialize_field("cursor", &cursor)?;
        object.serialize_field("recovered", &self.replayed.is_ok())?;
        object.serialize_field("replayed", &self.replayed.unwrap_or(0))?;
        match self.replayed {
            Ok(_) => object.skip_field("reason")?,
            Err(reason) => object.serialize_field("reason", reason.label())?,
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Epoch;

    const CURSOR: Cursor = Cursor {
        epoch: Epoch(1),
        number: 26,
    };

    #[test]
    fn resume_and_rewind_are_parsed() {
        for (resume, rewind, expected) in [
            (None, None, None),
            (Some(""), None, Some(Since::Now)),
            (
                Some("0000000000000001-1a"),
                Some("5"),
                Some(Since::Cursor(CURSOR)),
            ),
            (Some("gone"), None, Some(Since::Unknown)),
            (None, Some("20"), Some(Since::Newest(20))),
            (None, Some("99999999999999999999"), Some(Since::Newest(u32::MAX))),
            (None, Some("5m"), Some(Since::Within(Duration::from_secs(300)))),
            (None, Some(""), Some(Since::Unknown)),
            (None, Some("-1"), Some(Since::Unknown)),
            (None, Some("many"), Some(Since::Unknown)),
        ] {
            assert_eq!(Since::of(resume, rewind), expected, "{resume:?} {rewind:?}");
        }
    }

    #[test]
    fn the_answer_is_a_json_object() {
        let answer = |cursor, replayed| Resumption { cursor, replayed }.json();
        assert_eq!(
            answer(Some(CURSOR), Ok(3)),
            r#"{"cursor":"0000000000000001-1a","recovered":true,"replayed":3}"#
        );
        assert_eq!(
            answer(None, Err(Unrecovered::Expired)),
            r#"{"cursor":"","recovered":false,"replayed":0,"reason":"expired"}"#
        );
    }
}
