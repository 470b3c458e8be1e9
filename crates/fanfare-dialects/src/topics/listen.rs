//! `fanfare listen` as a client of this protocol.

use fanfare_core::{EVERYONE_CHANNEL, ListenMessage, ListenPlan, Listening, RawObject, string};
use serde_json::json;

use crate::listen;

/// A pattern over all personal channels, which matches only the client's own.
const PERSONAL: &str = "notifications.user.**";

/// Plans one `auth`, then one `subscribe` for all topics; each topic has a reply.
pub(super) fn plan(wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token?;
    let own = [PERSONAL, EVERYONE_CHANNEL].into_iter().filter(|_| wanted.own);
    let topics: Vec<_> = own.chain(wanted.channels.iter().map(String::as_str)).collect();
    Some(ListenPlan {
        confirmations: 1 + topics.len(),
        frames: vec![
            json!({ "type": "auth", "token": token }).to_string(),
            json!({ "type": "subscribe", "topics": topics }).to_string(),
        ],
        ..ListenPlan::connect(super::PATH, &[], classify)
    })
}

fn classify(message: &str) -> ListenMessage {
    let Some((kind, fields)) = listen::message(message) else {
        return ListenMessage::Other;
    };
    match &*kind {
        "message" => ListenMessage::Event,
        "auth_success" | "subscribed" => ListenMessage::Confirmed,
        "auth_error" | "error" => ListenMessage::Refused(refusal(&fields)),
        _ => ListenMessage::Other,
    }
}

/// Returns an error's text, such as `403 Forbidden: not allowed (admin.news)`.
fn refusal(fields: &RawObject<'_>) -> String {
    let mut refusal = listen::coded(fields);
    if let Some(details) = listen::nested(fields, "details") {
        refusal.extend([": ", &listen::text(&details, "issue")]);
        let topic = details.get("topic").and_then(string);
        refusal.extend(topic.map(|topic| format!(" ({topic})")));
    }
    refusal
}
