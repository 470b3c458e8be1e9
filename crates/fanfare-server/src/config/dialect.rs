//! The settings of dialects. Each [`DialectKind`] of the registry has its name, its defaults and its own settings.

use std::time::Duration;

use fanfare_core::{DialectKind, DurationText, Options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// The settings of one dialect. Every dialect has its own table with these keys.
#[derive(Clone, Debug, PartialEq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DialectConfig {
    /// The maximum number of connections on this node.
    #[schemars(range(min = 1, max = 100_000_000))]
    #[default(10_000)]
    pub max_connections: usize,

    /// The maximum number of connections from one client address. 0 is no limit. The addresses of an IPv6 network of 64
    /// bits count as one.
    #[schemars(range(max = 100_000_000))]
    pub max_connections_per_ip: usize,

    /// The maximum number of connections of one user. 0 is no limit.
    #[schemars(range(max = 100_000_000))]
    pub max_connections_per_user: usize,

    /// The maximum number of subscriptions of one connection: channels, patterns and rooms together.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(1000)]
    pub max_subscriptions: usize,

    /// The maximum length of a client's message, in bytes, after decompression.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    #[default(64 * 1024)]
    pub max_message_size: usize,

    /// The number of messages that may wait for one slow connection before it is closed.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(256)]
    pub send_queue: usize,

    /// The number of bytes that may wait for one slow connection before it is closed.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    #[default(1024 * 1024)]
    pub send_queue_size: usize,

    /// The time between two pings to a connection.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(30))]
    pub ping_interval: Duration,

    /// The time without a sign of life after which a connection is closed. Must be longer than `ping_interval`.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(60))]
    pub ping_timeout: Duration,

    /// The maximum number of frames of one message.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(1024)]
    pub max_fragments: usize,

    /// Whether to accept permessage-deflate (RFC 7692) from clients that offer it. It saves traffic and costs CPU time.
    pub compression: bool,

    /// The size in bytes below which a message is sent uncompressed, because compression would gain nothing.
    #[schemars(range(max = 1_073_741_824))]
    #[default(512)]
    pub compression_threshold: usize,

    /// The settings that only this dialect has.
    #[serde(skip)]
    pub options: Options,
}

impl DialectConfig {
    pub(super) fn defaults_of(kind: &DialectKind) -> Self {
        Self {
            max_connections: kind.max_connections,
            max_connections_per_ip: kind.max_connections_per_ip,
            max_connections_per_user: kind.max_connections_per_user,
            max_message_size: kind.max_message_size,
            ping_interval: kind.ping_interval,
            ..Self::default()
        }
    }
}
