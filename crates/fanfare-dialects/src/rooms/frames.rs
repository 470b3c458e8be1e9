//! What a client may send: `{"type","room","data"}`. What it says in a room is taken out as it was written.

use fanfare_core::{BadObject, Channel, RawObject, UserId, string};
use serde_json::value::RawValue;

use super::errors::Complaint;

/// The kinds of rooms a client may name.
const KINDS: [&str; 3] = ["project", "channel", "task"];

/// A message from a client.
pub(super) enum Frame<'a> {
    /// `join_room`.
    Join(Channel),
    /// `leave_room`.
    Leave(Channel),
    /// `send_message`.
    Send(Channel, Said<'a>),
    /// `ping`.
    Ping,
}

/// What a client says in a room.
pub(super) struct Said<'a> {
    /// Any JSON value but `null` and the empty string.
    pub(super) content: &'a str,
    /// Any JSON value; an empty object if the client gave none, so that readers may look into it unasked.
    pub(super) metadata: &'a str,
}

/// Reads a message.
pub(super) fn read(text: &str) -> Result<Frame<'_>, Complaint<'_>> {
    let frame = RawObject::parse(text)?;
    let kind = frame.get("type").and_then(string).ok_or(Complaint::NoType)?;
    match &*kind {
        "join_room" => Ok(Frame::Join(room(&frame)?)),
        "leave_room" => Ok(Frame::Leave(room(&frame)?)),
        "send_message" => Ok(Frame::Send(room(&frame)?, said(&frame)?)),
        "ping" => Ok(Frame::Ping),
        _ => Err(Complaint::UnknownType(kind)),
    }
}

/// The room a message is about: `{project|channel|task}:{id}`. A user's room exists, but not for clients.
fn room<'a>(frame: &RawObject<'a>) -> Result<Channel, Complaint<'a>> {
    let raw = filled(frame, "room").ok_or(Complaint::NoRoom)?;
    named(&string(raw).ok_or(Complaint::BadRoom)?)
}

/// The room of that name, if clients may name it.
pub(super) fn named<'a>(name: &str) -> Result<Channel, Complaint<'a>> {
    match name.split_once(':') {
        Some((kind, _)) if KINDS.contains(&kind) => Channel::new(name).map_err(|_| Complaint::BadRoom),
        Some(("user", id)) if UserId::new(id).is_ok() => Err(Complaint::UsersRoom),
        _ => Err(Complaint::BadRoom),
    }
}

/// What `data` holds for the others in the room. Of more than these two fields nothing is passed on.
fn said<'a>(frame: &RawObject<'a>) -> Result<Said<'a>, Complaint<'a>> {
    let data = frame.get("data").ok_or(Complaint::NoContent)?;
    let data = RawObject::parse(data.get()).map_err(|bad| match bad {
        BadObject::NotAnObject => Complaint::NoContent,
        BadObject::NotJson => Complaint::NotJson,
    })?;
    Ok(Said {
        content: filled(&data, "content").ok_or(Complaint::NoContent)?.get(),
        metadata: data.given("metadata").map_or("{}", RawValue::get),
    })
}

/// The field `name` as it was written, unless it is missing, `null` or an empty string.
fn filled<'a>(object: &RawObject<'a>, name: &str) -> Option<&'a RawValue> {
    object.given(name).filter(|raw| raw.get() != r#""""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is too long to be written in a transcript.
    #[test]
    fn absurd_messages() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        let long = "é".repeat(30_000);
        let unknown = format!("Unknown message type: {}…", "é".repeat(100));
        let many = r#""x":1,"#.repeat(10_000);
        let cases: &[(String, Option<&str>)] = &[
            (nested(10_000), Some("Invalid JSON format")),
            ("[".repeat(60_000), Some("Invalid JSON format")),
            (r#"{"a":"#.repeat(10_000), Some("Invalid JSON format")),
            (
                format!(r#"{{"type":"ping","x":{}}}"#, nested(10_000)),
                Some("Invalid JSON format"),
            ),
            (format!(r#"{{"type":"{long}"}}"#), Some(&unknown)),
            (
                format!(r#"{{"type":"join_room","room":"channel:{long}"}}"#),
                Some("Invalid room identifier"),
            ),
            (
                format!(r#"{{"type":"join_room","room":"user:{long}"}}"#),
                Some("Invalid room identifier"),
            ),
            (
                format!(r#"{{"type":"{}"}}"#, "1".repeat(60_000)),
                Some("Unknown message type: "),
            ),
            (
                format!(r#"{{"type":{}}}"#, "1".repeat(60_000)),
                Some("Message type required"),
            ),
            (format!(r#"{{{many}"type":"ping"}}"#), None),
        ];
        for (text, expected) in cases {
            let found = read(text).err().map(|complaint| complaint.words());
            let fits = match (&found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected) && found.chars().count() < 130,
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(fits, "{text:.60}: {found:?}");
        }
    }
}
