//! Parses a client's messages: `{"type","room","data"}`. Content and metadata keep their bytes.

use fanfare_core::{BadObject, Channel, RawObject, UserId, history::Since, string};
use serde_json::value::RawValue;

use super::errors::FrameError;

pub(super) const ROOMS: &[&str] = &["project:", "channel:", "task:"];

pub(super) enum Frame<'a> {
    /// The room, whether to list its members, and its resume.
    Join(Channel, bool, Option<Since>),
    Leave(Channel),
    Send(Channel, Content<'a>),
    Ping,
}

pub(super) struct Content<'a> {
    /// Any JSON value but `null` and the empty string.
    pub(super) content: &'a str,
    /// Any JSON value; an empty object if the client sent none.
    pub(super) metadata: &'a str,
}

pub(super) fn read(text: &str) -> Result<Frame<'_>, FrameError<'_>> {
    let frame = RawObject::parse(text)?;
    let kind = frame.get("type").and_then(string).ok_or(FrameError::NoType)?;
    match &*kind {
        "join_room" => {
            let (room, wants_members) = (room(&frame)?, wants_members(&frame)?);
            Ok(Frame::Join(room, wants_members, Since::given(&frame)))
        }
        "leave_room" => Ok(Frame::Leave(room(&frame)?)),
        "send_message" => Ok(Frame::Send(room(&frame)?, content(&frame)?)),
        "ping" => Ok(Frame::Ping),
        _ => Err(FrameError::UnknownType(kind)),
    }
}

/// Returns the room of a message: `{project|channel|task}:{id}`.
fn room<'a>(frame: &RawObject<'a>) -> Result<Channel, FrameError<'a>> {
    let raw = filled(frame, "room").ok_or(FrameError::NoRoom)?;
    room_named(&string(raw).ok_or(FrameError::BadRoom)?)
}

fn wants_members<'a>(frame: &RawObject<'a>) -> Result<bool, FrameError<'a>> {
    match frame.given("members").map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(FrameError::BadMembers),
    }
}

/// Returns the room of that name, if clients may use it.
pub(super) fn room_named<'a>(name: &str) -> Result<Channel, FrameError<'a>> {
    if ROOMS.iter().any(|prefix| name.starts_with(prefix)) {
        return Channel::new(name).map_err(|_| FrameError::BadRoom);
    }
    match name.strip_prefix("user:") {
        Some(id) if UserId::new(id).is_ok() => Err(FrameError::UsersRoom),
        _ => Err(FrameError::BadRoom),
    }
}

/// Returns the content and metadata in `data`. Other fields are dropped.
fn content<'a>(frame: &RawObject<'a>) -> Result<Content<'a>, FrameError<'a>> {
    let data = frame.get("data").ok_or(FrameError::NoContent)?;
    let data = RawObject::parse(data.get()).map_err(|bad| match bad {
        BadObject::NotAnObject => FrameError::NoContent,
        BadObject::NotJson => FrameError::NotJson,
    })?;
    Ok(Content {
        content: filled(&data, "content").ok_or(FrameError::NoContent)?.get(),
        metadata: data.given("metadata").map_or("{}", RawValue::get),
    })
}

/// Returns the field `name` as it was written, unless it is missing, `null` or an empty string.
fn filled<'a>(object: &RawObject<'a>, name: &str) -> Option<&'a RawValue> {
    object.given(name).filter(|raw| raw.get() != r#""""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases that are too long for a transcript.
    #[test]
    fn extreme_messages_are_parsed_or_refused() {
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
            let found = read(text).err().map(|frame_error| frame_error.message());
            let fits = match (&found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected) && found.chars().count() < 130,
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(fits, "{text:.60}: {found:?}");
        }
    }
}
