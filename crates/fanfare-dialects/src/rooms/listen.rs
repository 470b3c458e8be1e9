//! `fanfare listen` as a client of this protocol.

use fanfare_core::{ListenMessage, ListenPlan, Listening};
use serde_json::json;

use super::frames;
use crate::listen;

/// Plans for events of the token's user and for everyone, which need no subscription, and joins each room. Other channels
/// are not available in this protocol.
pub(super) fn plan(wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token?;
    let rooms = wanted.channels;
    if rooms.iter().any(|room| frames::room_named(room).is_err()) {
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
            let data = listen::nested(&fields, "data");
            let error = data.map(|data| listen::text(&data, "error").into());
            ListenMessage::Refused(error.unwrap_or_default())
        }
        _ => ListenMessage::Event,
    }
}
