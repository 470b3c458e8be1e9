//! `stream`: events in the body of an HTTP response, for shells, clients without a WebSocket, and a browser's `EventSource`. A
//! client names its channels in the request, and receives a line of JSON or a server-sent event for each event.

mod conversation;
mod handshake;
mod http;
mod render;

use std::{sync::Arc, time::Duration};

use fanfare_core::{DialectKind, OptionsType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::describe;

pub(crate) static KIND: DialectKind = DialectKind {
    everywhere: true,
    // Proxies close a stream without bytes for half a minute.
    ping_interval: Duration::from_secs(15),
    options: OptionsType::of::<Stream>(),
    production: &[("stream.require_auth", "true")],
    openapi: describe::part::<http::Api>,
    ..DialectKind::new(
        "stream",
        "/api/v1/stream",
        "Events over HTTP, as server-sent events or lines of JSON; on every listener.",
        |options| Arc::new(options.get::<Stream>()),
    )
};

/// The configured dialect: its options.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Stream {
    /// Whether a client must have a token or an API key. Without one it is anonymous, and uses the channels that the access rules open to
    /// anyone.
    require_auth: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_serves_this_dialect() {
        assert!(KIND.everywhere && KIND.binds.is_empty() && !KIND.is_hidden());
        assert_eq!(KIND.path, "/api/v1/stream");
        assert_eq!(KIND.ping_interval, Duration::from_secs(15));
    }

    /// Most connections are idle most of the time, so their size determines their cost.
    #[test]
    fn an_idle_connection_takes_at_most_32_bytes() {
        assert!(size_of::<conversation::Client>() <= 32);
    }
}
