//! `fanfare listen` as a client of this protocol.

use std::borrow::Cow;

use fanfare_core::{ListenMessage, ListenPlan, Listening};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::frames;

/// Needs a token. Events for the user and for everyone need no subscription; the welcome shows that the token is valid.
/// For a room's events it joins the room, and the members see it. Other channels cannot be received here.
pub(super) fn plan(path: &str, wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token?;
    let rooms = wanted.channels;
    if rooms.iter().any(|room| frames::named(room).is_err()) {
        return None;
    }
    let join = |room: &String| json!({ "type": "join_room", "room": room }).to_string();
    Some(ListenPlan {
        frames: rooms.iter().map(join).collect(),
        confirmations: 1 + rooms.len(),
        ..ListenPlan::connect(path, &[("token", token)], classify)
    })
}

/// An event in a room has a sender, whatever its type; a reply to this connection has none.
fn classify(text: &str) -> ListenMessage {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        sender: Option<IgnoredAny>,
    }
    match serde_json::from_str(text) {
        Ok(Frame { sender: Some(_), .. }) => ListenMessage::Event,
        Ok(Frame { kind, .. }) => match &*kind {
            "connected" | "joined_room" => ListenMessage::Confirmed,
            "left_room" | "pong" => ListenMessage::Other,
            "error" => ListenMessage::Refused(refusal(text).unwrap_or_default()),
            _ => ListenMessage::Event,
        },
        Err(_) => ListenMessage::Other,
    }
}

fn refusal(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Frame {
        data: Problem,
    }
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    let frame: Frame = serde_json::from_str(text).ok()?;
    Some(frame.data.error)
}
