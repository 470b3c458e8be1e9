//! `notify`: push to one user. A client authenticates with a token in the query and only receives:
//! `{"type","payload","timestamp"}` for each event for its user or for everyone.

mod conversation;
mod handshake;
mod http;
mod render;

use std::sync::Arc;

use fanfare_core::{DialectKind, ListenMessage, ListenPlan, Listening};

use crate::describe;

const PATH: &str = "/ws";

pub(crate) static KIND: DialectKind = DialectKind {
    binds: &["0.0.0.0:8081"],
    max_message_size: 512,
    openapi: describe::part::<http::Api>,
    asyncapi: include_str!("asyncapi.json"),
    listen,
    ..DialectKind::new(
        "notify",
        PATH,
        "Per-user push: a client listens, backends publish to its user.",
        |_| Arc::new(Notify),
    )
};

struct Notify;

/// Plans for the events of the token's user: this protocol has no channels.
fn listen(wanted: &Listening<'_>) -> Option<ListenPlan> {
    let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
    // Every message of this protocol is an event.
    Some(ListenPlan::connect(PATH, &[("token", token)], |_| {
        ListenMessage::Event
    }))
}
