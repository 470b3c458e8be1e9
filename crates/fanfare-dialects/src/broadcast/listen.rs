//! `fanfare listen` as a client of this protocol.

use std::borrow::Cow;

use fanfare_core::{ListenMessage, ListenPlan, Listening};
use serde::{Deserialize, de::IgnoredAny};

/// The type of test notifications, which are not events although they have an id.
const TEST: &str = "test_notification";

/// Needs a token, which proves the user. There are no channels here.
pub(super) fn plan(path: &str, wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
    Some(ListenPlan {
        confirmations: 1, // the welcome
        ..ListenPlan::connect(path, &[("token", token)], classify)
    })
}

/// An event has an id, and the server's other messages have none. Its type may be any.
fn classify(text: &str) -> ListenMessage {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        id: Option<IgnoredAny>,
        message: Option<String>,
    }
    let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
        return ListenMessage::Other;
    };
    match (frame.id, &*frame.kind) {
        (Some(_), TEST) => ListenMessage::Other,
        (Some(_), _) => ListenMessage::Event,
        (None, "welcome") => ListenMessage::Confirmed,
        (None, "error") => ListenMessage::Refused(frame.message.unwrap_or_default()),
        (None, _) => ListenMessage::Other,
    }
}
