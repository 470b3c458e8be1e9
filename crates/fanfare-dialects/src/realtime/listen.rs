//! `fanfare listen` as a client of this protocol.

use fanfare_core::{EVERYONE_CHANNEL, ListenMessage, ListenPlan, Listening};
use serde_json::json;

use crate::listen;

/// Plans for events of the user, which need no subscription, and subscribes to all others.
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
    let data = listen::nested(&fields, "data");
    match &*kind {
        "Broadcast" | "DirectMessage" => ListenMessage::Event,
        "Status"
            if data
                .as_ref()
                .is_some_and(|data| listen::text(data, "status") == "subscribed") =>
        {
            ListenMessage::Confirmed
        }
        "Error" => ListenMessage::Refused(data.as_ref().map(listen::coded).unwrap_or_default()),
        _ => ListenMessage::Other,
    }
}
