//! `fanfare listen` as a client of this protocol.

use fanfare_core::{ListenMessage, ListenPlan, Listening};

use crate::listen;

/// The type of test notifications, which are not events although they have an id.
const TEST: &str = "test_notification";

/// Plans for the events of the token's user: this protocol has no channels.
pub(super) fn plan(wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
    Some(ListenPlan {
        confirmations: 1, // the welcome
        ..ListenPlan::connect(super::PATH, &[("token", token)], classify)
    })
}

/// An event has an id and any type; the server's other messages have no id.
fn classify(message: &str) -> ListenMessage {
    let Some((kind, fields)) = listen::message(message) else {
        return ListenMessage::Other;
    };
    match (fields.given("id"), &*kind) {
        (Some(_), TEST) => ListenMessage::Other,
        (Some(_), _) => ListenMessage::Event,
        (None, "welcome") => ListenMessage::Confirmed,
        (None, "error") => ListenMessage::Refused(listen::text(&fields, "message").into()),
        (None, _) => ListenMessage::Other,
    }
}
