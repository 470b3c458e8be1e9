//! The errors of an open connection, sent as `error` events.

use std::borrow::Cow;

use fanfare_core::{BadObject, Denial};

use crate::text::excerpt;

#[derive(Debug)]
pub(super) enum FrameError<'a> {
    NotJson,
    NotAnObject,
    NoType,
    UnknownType(Cow<'a, str>),
    NoRoom,
    BadRoom,
    /// A user's room, which clients cannot use.
    UsersRoom,
    BadMembers,
    NoContent,
}

impl FrameError<'_> {
    pub(super) fn message(&self) -> Cow<'static, str> {
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
