//! The options of this dialect, and the variables of other servers that set them.

use std::time::Duration;

use fanfare_core::{DialectDefaults, Inherited, OptionKind, OptionSpec, Options, Target, Unit};

/// How long a connection may have no valid token.
#[derive(Debug)]
pub(super) struct AuthTimeouts {
    /// From its opening to its first accepted token.
    pub(super) auth_timeout: Duration,
    /// From its token's expiry to the next token.
    pub(super) reauth_grace: Duration,
}

impl AuthTimeouts {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            auth_timeout: options.duration("auth_timeout"),
            reauth_grace: options.duration("reauth_grace"),
        }
    }
}

pub(super) const DEFAULTS: DialectDefaults = DialectDefaults {
    binds: &["0.0.0.0:3000"],
    max_connections: 10_000,
    max_connections_per_ip: 100,
    max_connections_per_user: 0,
    max_message_size: 1024 * 1024,
    options: OPTIONS,
    inherited: INHERITED,
    production: &[],
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "auth_timeout",
        doc: "How long a connection may stay open before its first accepted `auth` frame. Then it is closed with 1008.",
        kind: OptionKind::Duration {
            min: Duration::from_millis(1), // with zero no client could authenticate
        },
        default: "\"30s\"",
    },
    OptionSpec {
        name: "reauth_grace",
        doc: "How long a connection whose token expired may take to send another one of the same user. Its \
              subscriptions rest until then; without one it is closed with 1008.",
        kind: OptionKind::Duration { min: Duration::ZERO },
        default: "\"60s\"",
    },
];

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
