//! Parses a client's messages: `{"type": "ping" | "pong" | "status_request"}`. Other fields are ignored.

use std::borrow::Cow;

use fanfare_core::{BadObject, RawObject, string};

use super::handshake::cut;

/// The longest part of a client's text in an error, in bytes.
const MAX_SHOWN: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Ping,
    /// Counts as activity.
    Pong,
    StatusRequest,
}

/// Parses a text message; an error is the text that the client receives.
pub(super) fn read(text: &str) -> Result<Frame, Cow<'static, str>> {
    let object = RawObject::parse(text).map_err(|bad| match bad {
        BadObject::NotJson => "Invalid JSON format",
        BadObject::NotAnObject => "Invalid message format",
    })?;
    let kind = object.get("type").and_then(string);
    match kind.as_deref().ok_or("Invalid message format")? {
        "ping" => Ok(Frame::Ping),
        "pong" => Ok(Frame::Pong),
        "status_request" => Ok(Frame::StatusRequest),
        other => Err(format!("Unknown message type: {}", cut(other, MAX_SHOWN)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases that would be unreadable in a transcript.
    #[test]
    fn extreme_messages_are_parsed_or_refused() {
        let nested = |depth: usize| {
            format!(
                r#"{{"type":"ping","x":{}{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        let long = "x".repeat(60_000);
        let cases: &[(String, Result<Frame, &str>)] = &[
            (nested(127), Ok(Frame::Ping)),
            (nested(128), Err("Invalid JSON format")),
            (nested(10_000), Err("Invalid JSON format")),
            ("[".repeat(60_000), Err("Invalid JSON format")),
            (format!(r#"{{"{long}":1,"type":"ping"}}"#), Ok(Frame::Ping)),
            (
                format!(r#"{{"type":{}}}"#, "9".repeat(60_000)),
                Err("Invalid message format"),
            ),
            (
                format!(r#"{{"type":"{long}"}}"#),
                Err(&format!("Unknown message type: {}", &long[..100])),
            ),
            (
                format!(r#"{{"type":"{}"}}"#, "\u{1f3ba}".repeat(9_000)),
                Err(&format!("Unknown message type: {}", "\u{1f3ba}".repeat(25))),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                read(text).as_ref().map_err(AsRef::as_ref),
                expected.as_ref().map_err(|m| *m),
                "{text:.40}"
            );
        }
    }
}
