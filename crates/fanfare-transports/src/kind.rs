//! The kinds of brokers, which are also the values of `broker.kind` in the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// In this process, without a server.
    #[default]
    Memory,
    /// A Redis server.
    Redis,
    /// NATS servers.
    Nats,
}

impl BrokerKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::Nats];

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the kind's name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }

    /// Returns the URL schemes of this broker.
    pub fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &[],
            Self::Redis => &["redis", "rediss", "valkey", "valkeys", "redis+unix", "unix"],
            Self::Nats => &["nats", "tls"],
        }
    }

    /// Returns the URL that is used if none is configured.
    pub fn default_url(self) -> Option<&'static str> {
        match self {
            Self::Memory => None,
            Self::Redis => Some("redis://127.0.0.1:6379"),
            Self::Nats => Some("nats://127.0.0.1:4222"),
        }
    }

    /// Returns whether the Redis-protocol door is opened because the broker has no server that backends can publish on.
    pub fn has_embedded_door(self) -> bool {
        self == Self::Memory
    }
}
