//! The options of this dialect, and the variables of other servers that set them.

use std::time::Duration;

use fanfare_core::{DurationText, Inherited, Target, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// The options: the time that a connection may have no valid token.
#[derive(Debug, Deserialize, Serialize, JsonSchema, SmartDefault)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthTimeouts {
    /// The time after which a connection without an accepted `auth` frame is closed with 1008.
    // With zero no client could authenticate.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(30))]
    pub(super) auth_timeout: Duration,

    /// The time in which a client may send a new token of the same user after its token has expired. Its subscriptions are
    /// paused until then; without a new token the connection is closed with 1008.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(60))]
    pub(super) reauth_grace: Duration,
}

pub(super) const INHERITED: &[Inherited] = &[
    Inherited::new("WEBSOCKET_ENABLED", Target::Enabled, Unit::Plain),
    Inherited::new("WEBSOCKET_PORT", Target::Port, Unit::Plain),
    Inherited::new("WEBSOCKET_HOST", Target::Host, Unit::Plain),
    Inherited::new(
        "WEBSOCKET_PING_INTERVAL",
        Target::Key("topics.ping_interval"),
        Unit::Milliseconds,
    ),
    Inherited::new(
        "WEBSOCKET_PING_TIMEOUT",
        Target::Key("topics.ping_timeout"),
        Unit::Milliseconds,
    ),
    Inherited::key(
        "WEBSOCKET_MAX_CONNECTIONS_PER_IP",
        "topics.max_connections_per_ip",
    ),
    Inherited::key("WEBSOCKET_MAX_MESSAGE_SIZE", "topics.max_message_size"),
];
