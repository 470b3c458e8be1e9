//! `fanfare listen` as a client of this protocol.

use std::borrow::Cow;

use fanfare_core::{EVERYONE_CHANNEL, ListenMessage, ListenPlan, Listening};
use serde::Deserialize;
use serde_json::json;

/// A pattern over all personal channels, which matches only the client's own.
const PERSONAL: &str = "notifications.user.**";

/// Sends `auth`, then one `subscribe` for all topics; each topic has its own reply.
pub(super) fn plan(path: &str, wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token?;
    let own = [PERSONAL, EVERYONE_CHANNEL].into_iter().filter(|_| wanted.own);
    let topics: Vec<_> = own.chain(wanted.channels.iter().map(String::as_str)).collect();
    Some(ListenPlan {
        confirmations: 1 + topics.len(),
        frames: vec![
            json!({ "type": "auth", "token": token }).to_string(),
            json!({ "type": "subscribe", "topics": topics }).to_string(),
        ],
        ..ListenPlan::connect(path, &[], classify)
    })
}

fn classify(text: &str) -> ListenMessage {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let Ok(Frame { kind }) = serde_json::from_str(text) else {
        return ListenMessage::Other;
    };
    match &*kind {
        "message" => ListenMessage::Event,
        "auth_success" | "subscribed" => ListenMessage::Confirmed,
        "auth_error" | "error" => ListenMessage::Refused(refusal(text).unwrap_or_default()),
        _ => ListenMessage::Other,
    }
}

/// Returns an error's text, such as `403 Forbidden: not allowed (admin.news)`.
fn refusal(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Frame {
        code: u16,
        message: String,
        details: Option<Details>,
    }
    #[derive(Deserialize)]
    struct Details {
        issue: String,
        topic: Option<String>,
    }
    let frame: Frame = serde_json::from_str(text).ok()?;
    let mut words = format!("{} {}", frame.code, frame.message);
    if let Some(Details { issue, topic }) = frame.details {
        words.extend([": ", &issue]);
        words.extend(topic.map(|topic| format!(" ({topic})")));
    }
    Some(words)
}
