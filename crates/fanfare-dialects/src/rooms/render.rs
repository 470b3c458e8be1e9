//! What is sent to clients: everything is `{"type","room"?,"data","sender"?,"timestamp"}`. Besides, the data of the
//! events that a connection publishes, for they are written with the same words.

use std::{fmt::Display, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{Audience, Event, Identity, Member, RawJson, Sender, timestamp, timestamp_micros};
use serde_json::Value;

use super::frames::Said;

/// The type of an event in a room whose publisher named none.
pub(super) const MESSAGE: &str = "message";
/// The type of such an event for a user, or for everyone.
const NOTIFICATION: &str = "notification.new";
/// The sender of an event in a room that nobody is named as the sender of.
const NOBODY: &str = "system";

/// An event.
pub(super) fn event(event: &Event) -> Bytes {
    let (default, room, sender) = match &event.audience {
        Audience::Channel(room) => {
            let sender = event.sender.as_deref().map_or(NOBODY, Sender::name);
            (MESSAGE, Some(&**room), Some(sender))
        }
        Audience::User(_) | Audience::Everyone => (NOTIFICATION, None, None),
    };
    let kind = event.kind.as_deref().unwrap_or(default);
    envelope(
        kind,
        room,
        event.data.as_str(),
        sender,
        timestamp(event.timestamp),
    )
}

/// The greeting. Its time alone has microseconds.
pub(super) fn connected(user: &Identity, now: SystemTime) -> Bytes {
    let data = format!(
        r#"{{"message":"Connected successfully","user_id":{},"username":{}}}"#,
        user_id(&user.user, user.numeric),
        quoted(user.name())
    );
    envelope("connected", None, &data, None, timestamp_micros(now))
}

/// The connection is in the room.
pub(super) fn joined_room(room: &str, now: SystemTime) -> Bytes {
    about_room("joined_room", "Joined", room, now)
}

/// The connection is in the room no more.
pub(super) fn left_room(room: &str, now: SystemTime) -> Bytes {
    about_room("left_room", "Left", room, now)
}

fn about_room(kind: &str, done: &str, room: &str, now: SystemTime) -> Bytes {
    let data = format!(r#"{{"message":{}}}"#, quoted(&format!("{done} room {room}")));
    envelope(kind, Some(room), &data, None, timestamp(now))
}

/// The answer to a ping.
pub(super) fn pong(now: SystemTime) -> Bytes {
    let data = format!(r#"{{"timestamp":"{}"}}"#, timestamp(now));
    envelope("pong", None, &data, None, timestamp(now))
}

/// Something went wrong.
pub(super) fn error(words: &str, now: SystemTime) -> Bytes {
    let data = format!(r#"{{"error":{}}}"#, quoted(words));
    envelope("error", None, &data, None, timestamp(now))
}

/// The data of `user_joined` and `user_left`; `None` when it is no JSON, which takes an id that only claims to be a
/// number.
pub(super) fn member_data(member: &Member) -> Option<RawJson> {
    let (name, id) = (quoted(member.name()), user_id(&member.user, member.numeric));
    json(format!(r#"{{"username":{name},"user_id":{id}}}"#))
}

/// The data of a `message`; `None` as above.
pub(super) fn message_data(said: &Said<'_>, user: &Identity) -> Option<RawJson> {
    let Said { content, metadata } = said;
    let (name, id) = (quoted(user.name()), user_id(&user.user, user.numeric));
    json(format!(
        r#"{{"content":{content},"username":{name},"user_id":{id},"metadata":{metadata}}}"#
    ))
}

fn json(text: String) -> Option<RawJson> {
    RawJson::parse(&Bytes::from(text)).ok()
}

/// A user's id, as a number where the credential has one, whatever its size.
fn user_id(user: &str, numeric: bool) -> String {
    if numeric { user.to_owned() } else { quoted(user) }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `data` is JSON.
fn envelope(kind: &str, room: Option<&str>, data: &str, sender: Option<&str>, time: impl Display) -> Bytes {
    let room = room.map_or_else(String::new, |room| format!(r#","room":{}"#, quoted(room)));
    let sender = sender.map_or_else(String::new, |sender| format!(r#","sender":{}"#, quoted(sender)));
    let kind = quoted(kind);
    format!(r#"{{"type":{kind}{room},"data":{data}{sender},"timestamp":"{time}"}}"#).into()
}
