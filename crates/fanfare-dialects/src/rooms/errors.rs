//! The errors of an open connection. Each is sent as an `error` event, and the connection stays open, except
//! after a request for a room without access.

use std::borrow::Cow;

use fanfare_core::{BadObject, Denial};

use crate::text::excerpt;

/// Why a message is refused.
#[derive(Debug)]
pub(super) enum FrameError<'a> {
    /// It is not JSON, or is nested too deep.
    NotJson,
    /// It is JSON, but not an object.
    NotAnObject,
    /// `type` is missing, or is not a string.
    NoType,
    /// `type` is unknown.
    UnknownType(Cow<'a, str>),
    /// `room` is missing, `null` or an empty string.
    NoRoom,
    /// `room` is not a room's name.
    BadRoom,
    /// `room` is a user's room, which clients cannot use.
    UsersRoom,
    /// `members` is neither a boolean nor `null`.
    BadMembers,
    /// `data.content` is missing, `null` or an empty string.
    NoContent,
}

impl FrameError<'_> {
    /// Returns the error's text.
    pub(super) fn words(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotJson => "Invalid JSON format",
            Self::NotAnObject => "Message must be a JSON object",
            Self::NoType => "Message type required",
            Self::UnknownType(kind) => return format!("Unknown message type: {}", excerpt(kind)).into(),
            Self::NoRoom => "Room ID required",
            Self::BadRoom => "Invalid room identifier",
            Self::UsersRoom => "No access to the rooms of users",
            Self::BadMembers => "members must be true or false",
            Self::NoContent => "Content required",
        })
    }
}

impl From<BadObject> for FrameError<'_> {
    fn from(bad: BadObject) -> Self {
        match bad {
            BadObject::NotJson => Self::NotJson,
            BadObject::NotAnObject => Self::NotAnObject,
        }
    }
}

/// Returns the error's text for a denial in `room`.
pub(super) fn denied(denial: Denial, room: &str) -> String {
    let room = excerpt(room);
    match denial {
        Denial::Forbidden => format!("No access to room {room}"),
        Denial::NotMember => format!("Not in room {room}"),
        Denial::TooManySubscriptions => "Too many rooms".to_owned(),
        Denial::ReservedType => "Message type reserved".to_owned(),
        Denial::NotConnected => "User not connected".to_owned(),
        Denial::UserAtCapacity => "Too many connections".to_owned(),
        Denial::BadCredential | Denial::ExpiredCredential | Denial::KeysUnavailable | Denial::OtherUser => {
            "Authentication failed".to_owned()
        }
    }
}
