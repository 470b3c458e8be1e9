//! `fanfare listen` as a client of this protocol.

use fanfare_core::{ListenMessage, ListenPlan, Listening};
use serde_json::json;

use super::frames;
use crate::listen;

/// Needs a token. Events for the user and for everyone need no subscription; the welcome shows that the token is valid.
/// For a room's events it joins the room, and the members see it. Other channels cannot be received here.
pub(super) fn plan(wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token?;
    let rooms = wanted.channels;
    if rooms.iter().any(|room| frames::named(room).is_err()) {
        return None;
    }
    let join = |room: &String| json!({ "type": "join_room", "room": room }).to_string();
    Some(ListenPlan {
        frames: rooms.iter().map(join).collect(),
        confirmations: 1 + rooms.len(),
        ..ListenPlan::connect(super::PATH, &[("token", token)], classify)
    })
}

/// An event in a room has a sender, whatever its type; a reply to this connection has none.
fn classify(message: &str) -> ListenMessage {
    let Some((kind, fields)) = listen::message(message) else {
        return ListenMessage::Other;
    };
    match &*kind {
        _ if fields.given("sender").is_some() => ListenMessage::Event,
        "connected" | "joined_room" => ListenMessage::Confirmed,
        "left_room" | "pong" => ListenMessage::Other,
        "error" => {
            let data = listen::inside(&fields, "data");
            ListenMessage::Refused(
                data.map(|data| listen::text(&data, "error").into())
                    .unwrap_or_default(),
            )
        }
        _ => ListenMessage::Event,
    }
}
