//! How our own command line listens as a client of this protocol.

use std::borrow::Cow;

use fanfare_core::{Heard, ListenPlan, Listening};
use serde::{Deserialize, de::IgnoredAny};

/// What is sent to show that the way is open, and tells of nothing.
const TEST: &str = "test_notification";

/// With a token, which proves the user. There are no channels here.
pub(super) fn plan(path: &str, wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
    Some(ListenPlan::connect(path, &[("token", token)], hear))
}

/// What tells of an event has an id, and what the server says of itself has none. Its type may be any.
fn hear(text: &str) -> Heard {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        id: Option<IgnoredAny>,
        message: Option<String>,
    }
    match serde_json::from_str(text) {
        Ok(Frame {
            id: Some(_), kind, ..
        }) if kind != TEST => Heard::Event,
        Ok(Frame {
            id: None,
            kind,
            message,
        }) if kind == "error" => Heard::Refused(message.unwrap_or_default()),
        _ => Heard::Other,
    }
}
