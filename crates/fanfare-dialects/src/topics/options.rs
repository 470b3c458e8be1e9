//! The options of this dialect, and the variables of other servers that set them.

use std::time::Duration;

use fanfare_core::{DialectDefaults, DurationText, Inherited, OptionsType, Target, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The options: how long a connection may have no valid token.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthTimeouts {
    /// How long a connection may stay open before its first accepted `auth` frame. Then it is closed with 1008.
    // With zero no client could authenticate.
    #[serde(with = "DurationText::<1>")]
    pub(super) auth_timeout: Duration,

    /// How long a client may take to send a new token of the same user after its token expired. Its subscriptions are
    /// paused until then; without a new token the connection is closed with 1008.
    #[serde(with = "DurationText::<0>")]
    pub(super) reauth_grace: Duration,
}

impl Default for AuthTimeouts {
    fn default() -> Self {
        Self {
            auth_timeout: Duration::from_secs(30),
            reauth_grace: Duration::from_secs(60),
        }
    }
}

pub(super) const DEFAULTS: DialectDefaults = DialectDefaults {
    binds: &["0.0.0.0:3000"],
    max_connections: 10_000,
    max_connections_per_ip: 100,
    max_connections_per_user: 0,
    max_message_size: 1024 * 1024,
    options: OptionsType::of::<AuthTimeouts>(),
    inherited: INHERITED,
    production: &[],
};

const INHERITED: &[Inherited] = &[
    inherited("WEBSOCKET_ENABLED", Target::Enabled, Unit::Plain),
    inherited("WEBSOCKET_PORT", Target::Port, Unit::Plain),
    inherited("WEBSOCKET_HOST", Target::Host, Unit::Plain),
    inherited(
        "WEBSOCKET_PING_INTERVAL",
        key("topics.ping_interval"),
        Unit::Milliseconds,
    ),
    inherited(
        "WEBSOCKET_PING_TIMEOUT",
        key("topics.ping_timeout"),
        Unit::Milliseconds,
    ),
    inherited(
        "WEBSOCKET_MAX_CONNECTIONS_PER_IP",
        key("topics.max_connections_per_ip"),
        Unit::Plain,
    ),
    inherited(
        "WEBSOCKET_MAX_MESSAGE_SIZE",
        key("topics.max_message_size"),
        Unit::Plain,
    ),
];

const fn inherited(variable: &'static str, target: Target, unit: Unit) -> Inherited {
    Inherited {
        variable,
        target,
        unit,
    }
}

const fn key(name: &'static str) -> Target {
    Target::Key(name)
}
