//! `topics`: publish and subscribe on channels, with wildcards. A client connects without a user, authenticates
//! with an `auth` message, subscribes, and may publish.
//! [`replies`] renders the replies; [`metadata`] removes what a client claims about the sender.

mod conversation;
mod frames;
mod handshake;
mod http;
mod listen;
mod metadata;
mod options;
mod render;
mod replies;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fanfare_core::{Description, Dialect, DialectDefaults, DialectKind, ListenPlan, Listening, Options};

use crate::describe;
use options::AuthTimeouts;

/// The dialect, before it is configured.
pub(crate) struct Kind;

impl DialectKind for Kind {
    fn name(&self) -> &'static str {
        "topics"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        listen::plan(self.path(), wanted)
    }

    fn summary(&self) -> &'static str {
        "Publish and subscribe: clients subscribe to topics, with wildcards, and publish on them."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::refusing::<http::Api, http::FailedError<'_>>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        options::defaults()
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Topics(Arc::new(options.get::<AuthTimeouts>())))
    }
}

/// The configured dialect.
struct Topics(Arc<AuthTimeouts>);
