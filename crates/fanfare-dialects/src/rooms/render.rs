//! Renders the server's messages: `{"type","room"?,"data","sender"?,"timestamp"}`, and the data of the events
//! that a connection publishes.

use std::{fmt::Display, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{
    Announcement, Audience, Context, Ending, Event, Identity, Member, Presence, RawJson, Render, Rendering,
    Sender, timestamp, timestamp_micros,
};

use super::{Rooms, UNAUTHENTICATED, frames::Content};
use crate::text::{quoted, resume_field};

/// The type of a room's event without a type.
pub(super) const MESSAGE: &str = "message";
/// The type of any other event without a type.
const NOTIFICATION: &str = "notification.new";
/// The sender of a room's event without a sender.
const DEFAULT_SENDER: &str = "system";

const INTERNAL: u16 = 4500;

impl Render for Rooms {
    fn render(&self, event: &Event) -> Option<Rendering> {
        Some(self::event(event).into())
    }

    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let kind = match change {
            Presence::Joined => "user_joined",
            Presence::Left => "user_left",
        };
        member_data(member).map(|data| Announcement { kind, data })
    }

    /// `message` is not reserved: clients of every dialect publish it.
    fn own_types(&self) -> &'static [&'static str] {
        &[
            "connected",
            "joined_room",
            "left_room",
            "user_joined",
            "user_left",
            "notification.new",
            "error",
            "pong",
        ]
    }

    fn end(&self, ending: Ending) -> (u16, &'static str) {
        match ending {
            Ending::TokenExpired => (UNAUTHENTICATED, "token expired"),
            Ending::InternalError => (INTERNAL, "Internal Server Error"),
            Ending::SlowConsumer
            | Ending::PingTimeout
            | Ending::RateLimited
            | Ending::SessionTerminated
            | Ending::Dismissed
            | Ending::ShuttingDown => ending.close(),
        }
    }
}

fn event(event: &Event) -> Bytes {
    let (default, room, sender) = match &event.audience {
        Audience::Channel(room) => {
            let sender = event.sender.as_deref().map_or(DEFAULT_SENDER, Sender::name);
            (MESSAGE, Some(&**room), Some(sender))
        }
        Audience::User(_) | Audience::Everyone => (NOTIFICATION, None, None),
    };
    let kind = event.kind.as_deref().unwrap_or(default);
    let (data, time) = (event.data.as_str(), timestamp(event.timestamp));
    envelope(kind, room, data, sender, time)
}

pub(super) fn connected(user: &Identity, context: &Context<'_>) -> Bytes {
    let (id, name, resume) = (
        user_id(&user.user, user.numeric),
        quoted(user.name()),
        resume_field(context),
    );
    let data = format!(r#"{{"message":"Connected successfully","user_id":{id},"username":{name}{resume}}}"#);
    envelope("connected", None, &data, None, timestamp_micros(context.now))
}

/// Renders the confirmation of a join. The members, if requested, are sorted by id.
pub(super) fn joined_room(room: &str, members: Option<Vec<Member>>, context: &Context<'_>) -> Bytes {
    let members = members.map(|mut members| {
        members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let members: Vec<_> = members.iter().map(listed).collect();
        format!(r#","members":[{}]"#, members.join(","))
    });
    let more = members.unwrap_or_default() + &resume_field(context);
    about_room("joined_room", "Joined", room, &more, context.now)
}

pub(super) fn left_room(room: &str, now: SystemTime) -> Bytes {
    about_room("left_room", "Left", room, "", now)
}

fn about_room(kind: &str, done: &str, room: &str, more: &str, now: SystemTime) -> Bytes {
    let message = quoted(&format!("{done} room {room}"));
    let data = format!(r#"{{"message":{message}{more}}}"#);
    envelope(kind, Some(room), &data, None, timestamp(now))
}

fn listed(member: &Member) -> String {
    let (id, name) = (user_id(&member.user, member.numeric), quoted(member.name()));
    format!(r#"{{"user_id":{id},"username":{name}}}"#)
}

pub(super) fn pong(now: SystemTime) -> Bytes {
    let data = format!(r#"{{"timestamp":"{}"}}"#, timestamp(now));
    envelope("pong", None, &data, None, timestamp(now))
}

pub(super) fn error(message: &str, now: SystemTime) -> Bytes {
    let data = format!(r#"{{"error":{}}}"#, quoted(message));
    envelope("error", None, &data, None, timestamp(now))
}

/// Returns the data of `user_joined` and `user_left`; `None` if it is not JSON, because the credential has a numeric id
/// that is not a number.
fn member_data(member: &Member) -> Option<RawJson> {
    let (name, id) = (quoted(member.name()), user_id(&member.user, member.numeric));
    json(format!(r#"{{"username":{name},"user_id":{id}}}"#))
}

/// Returns the data of a `message`; `None` for the same reason.
pub(super) fn message_data(content: &Content<'_>, user: &Identity) -> Option<RawJson> {
    let Content { content, metadata } = content;
    let (name, id) = (quoted(user.name()), user_id(&user.user, user.numeric));
    json(format!(
        r#"{{"content":{content},"username":{name},"user_id":{id},"metadata":{metadata}}}"#
    ))
}

fn json(text: String) -> Option<RawJson> {
    RawJson::parse(&Bytes::from(text)).ok()
}

/// Returns a user's id, as a number of any size if the credential has one.
fn user_id(user: &str, numeric: bool) -> String {
    if numeric { user.to_owned() } else { quoted(user) }
}

/// Renders a message; `data` is JSON.
fn envelope(kind: &str, room: Option<&str>, data: &str, sender: Option<&str>, time: impl Display) -> Bytes {
    let room = room.map_or_else(String::new, |room| format!(r#","room":{}"#, quoted(room)));
    let sender = sender.map_or_else(String::new, |sender| format!(r#","sender":{}"#, quoted(sender)));
    let kind = quoted(kind);
    format!(r#"{{"type":{kind}{room},"data":{data}{sender},"timestamp":"{time}"}}"#).into()
}
