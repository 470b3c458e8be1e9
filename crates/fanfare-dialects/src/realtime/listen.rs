//! `fanfare listen` as a client of this protocol.

use std::borrow::Cow;

use fanfare_core::{EVERYONE_CHANNEL, ListenMessage, ListenPlan, Listening};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// Events for the user need no subscription. For all others it subscribes, and the confirmations show when that is
/// done.
pub(super) fn plan(path: &str, wanted: &Listening<'_>) -> Option<ListenPlan> {
    if wanted.own && wanted.token.is_none() {
        return None; // an anonymous client has no events of its own
    }
    let mut query = vec![("dialect", "realtime")];
    query.extend(wanted.token.map(|token| ("token", token)));
    let everyone = [EVERYONE_CHANNEL].into_iter().filter(|_| wanted.own);
    let topics: Vec<_> = everyone
        .chain(wanted.channels.iter().map(String::as_str))
        .collect();
    Some(ListenPlan {
        frames: vec![json!({ "type": "Subscribe", "data": { "topics": topics } }).to_string()],
        confirmations: 1,
        ..ListenPlan::connect(path, &query, classify)
    })
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn classify(text: &str) -> ListenMessage {
    let Ok(Frame { kind, data }) = serde_json::from_str(text) else {
        return ListenMessage::Other;
    };
    match &*kind {
        "Broadcast" | "DirectMessage" => ListenMessage::Event,
        "Status" if is_subscribed(data) => ListenMessage::Confirmed,
        "Error" => ListenMessage::Refused(refusal(data)),
        _ => ListenMessage::Other,
    }
}

fn is_subscribed(data: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    serde_json::from_str(data.get()).is_ok_and(|Status { status }| status == "subscribed")
}

/// Returns an error's text, such as `403 Forbidden`.
fn refusal(data: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Problem {
        code: u16,
        message: String,
    }
    let problem = serde_json::from_str(data.get());
    problem.map_or_else(
        |_| String::new(),
        |Problem { code, message }| format!("{code} {message}"),
    )
}
