//! `fanfare listen` as a client of this protocol.

use fanfare_core::{EVERYONE_CHANNEL, ListenMessage, ListenPlan, Listening, RawObject};
use serde_json::json;

use crate::listen;

/// Events for the user need no subscription. For all others it subscribes, and the confirmations show when that is
/// done.
pub(super) fn plan(wanted: &Listening<'_>) -> Option<ListenPlan> {
    if wanted.own && wanted.token.is_none() {
        return None; // an anonymous client has no events of its own
    }
    let mut query = vec![("dialect", "realtime")];
    query.extend(wanted.token.map(|token| ("token", token)));
    let everyone = [EVERYONE_CHANNEL].into_iter().filter(|_| wanted.own);
    let channels = wanted.channels.iter().map(String::as_str);
    let topics: Vec<_> = everyone.chain(channels).collect();
    Some(ListenPlan {
        frames: vec![json!({ "type": "Subscribe", "data": { "topics": topics } }).to_string()],
        confirmations: 1,
        ..ListenPlan::connect(super::PATH, &query, classify)
    })
}

fn classify(message: &str) -> ListenMessage {
    let Some((kind, fields)) = listen::message(message) else {
        return ListenMessage::Other;
    };
    let data = |name| listen::inside(&fields, "data").map(|data| listen::text(&data, name));
    match &*kind {
        "Broadcast" | "DirectMessage" => ListenMessage::Event,
        "Status" if data("status").as_deref() == Some("subscribed") => ListenMessage::Confirmed,
        "Error" => ListenMessage::Refused(refusal(&fields)),
        _ => ListenMessage::Other,
    }
}

/// Returns an error's text, such as `403 Forbidden`.
fn refusal(fields: &RawObject<'_>) -> String {
    let data = listen::inside(fields, "data");
    let words = data.map(|data| {
        format!(
            "{} {}",
            listen::written(&data, "code"),
            listen::text(&data, "message")
        )
    });
    words.unwrap_or_default()
}
