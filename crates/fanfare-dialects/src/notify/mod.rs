//! `notify`: push to one user. A client authenticates with a token in the query and only receives:
//! `{"type","payload","timestamp"}` for each event for its user or for everyone.

mod conversation;
mod handshake;
mod http;
mod render;

use std::sync::Arc;

use fanfare_core::{
    Description, Dialect, DialectDefaults, DialectKind, ListenMessage, ListenPlan, Listening, Options,
};

use crate::describe;

pub(crate) struct Kind;

struct Notify;

impl DialectKind for Kind {
    fn name(&self) -> &'static str {
        "notify"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn summary(&self) -> &'static str {
        "Per-user push: a client listens, backends publish to its user."
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults {
            binds: &["0.0.0.0:8081"],
            max_message_size: 512,
            ..DialectDefaults::default()
        }
    }

    fn open(&self, _options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Notify)
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::part::<http::Api>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
        // Every message of this protocol is an event.
        Some(ListenPlan::connect(self.path(), &[("token", token)], |_| {
            ListenMessage::Event
        }))
    }
}
