//! The words for what goes wrong while a connection lives. All of it is told in an `error` event, and the connection
//! stays; only who asks for a room without access is sent away.

use std::borrow::Cow;

use fanfare_core::{BadObject, Denial};

/// The most characters of a client's own text that are shown back to it.
const MAX_ECHO: usize = 100;

/// What is wrong with a message, so that nothing is done about it.
#[derive(Debug)]
pub(super) enum Complaint<'a> {
    /// It is not JSON, or is nested too deep.
    NotJson,
    /// It is JSON of another kind.
    NotAnObject,
    /// `type` is missing, or is no text.
    NoType,
    /// `type` is none of the protocol's.
    UnknownType(Cow<'a, str>),
    /// `room` is missing, `null` or an empty string.
    NoRoom,
    /// `room` is not how rooms are named.
    BadRoom,
    /// `room` is a user's own, which is for what the server sends that user.
    UsersRoom,
    /// `data.content` is missing, `null` or an empty string.
    NoContent,
}

impl Complaint<'_> {
    /// What the client is told.
    pub(super) fn words(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotJson => "Invalid JSON format",
            Self::NotAnObject => "Message must be a JSON object",
            Self::NoType => "Message type required",
            Self::UnknownType(kind) => return format!("Unknown message type: {}", excerpt(kind)).into(),
            Self::NoRoom => "Room ID required",
            Self::BadRoom => "Invalid room identifier",
            Self::UsersRoom => "No access to the rooms of users",
            Self::NoContent => "Content required",
        })
    }
}

impl From<BadObject> for Complaint<'_> {
    fn from(bad: BadObject) -> Self {
        match bad {
            BadObject::NotJson => Self::NotJson,
            BadObject::NotAnObject => Self::NotAnObject,
        }
    }
}

/// What the client is told when what it wanted in `room` is denied.
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

/// The beginning of `text`, with `…` for what was cut off.
fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
