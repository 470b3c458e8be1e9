//! `topics`: publish and subscribe on channels, with wildcards. A client connects without a user, authenticates
//! with an `auth` message, subscribes, and may publish.
//! [`replies`] renders the replies; [`metadata`] removes a client's fields about the sender.

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

use fanfare_core::{DialectKind, OptionsType};

use crate::describe;
use options::AuthTimeouts;

const PATH: &str = "/ws";

pub(crate) static KIND: DialectKind = DialectKind {
    binds: &["0.0.0.0:3000"],
    max_connections_per_ip: 100,
    max_message_size: 1024 * 1024,
    options: OptionsType::of::<AuthTimeouts>(),
    inherited: options::INHERITED,
    openapi: describe::refusing::<http::Api, http::FailedError<'_>>,
    asyncapi: include_str!("asyncapi.json"),
    listen: listen::plan,
    ..DialectKind::new(
        "topics",
        PATH,
        "Publish and subscribe: clients subscribe to topics, with wildcards, and publish on them.",
        |options| Arc::new(Topics(Arc::new(options.get::<AuthTimeouts>()))),
    )
};

/// The configured dialect.
struct Topics(Arc<AuthTimeouts>);
