//! A protocol before it is configured: its name, its path, its options and their defaults.

use std::{sync::Arc, time::Duration};

use smart_default::SmartDefault;

use crate::{Dialect, Inherited, ListenPlan, Listening, Options, OptionsType, policy::PolicyOptions};

/// A client protocol, before it is configured.
pub trait DialectKind: Send + Sync {
    /// Returns its name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// Returns the path its clients connect to; `{name}` in it stands for any one segment.
    fn path(&self) -> &'static str;

    /// Returns one sentence for the configuration reference.
    fn summary(&self) -> &'static str;

    /// Returns its default listeners and limits.
    fn defaults(&self) -> DialectDefaults {
        DialectDefaults::default()
    }

    /// Returns the configured protocol.
    fn open(&self, options: &Options) -> Arc<dyn Dialect>;

    /// Changes the defaults of the access rules as its options require.
    fn shape_policy(&self, _options: &Options, _policy: &mut PolicyOptions) {}

    /// Returns the options that [`shape_policy`](Self::shape_policy) reads. A reload of the configuration applies them,
    /// like access rules; all others need a restart.
    fn policy_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the prefixes of its rooms' names; the room's id follows. In every dialect these channels have members.
    fn rooms(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns its part of the documents that describe the server.
    fn describe(&self) -> Description {
        Description::default()
    }

    /// Returns how `fanfare listen` receives the `wanted` events; `None` if this protocol cannot deliver them.
    fn listen(&self, _wanted: &Listening<'_>) -> Option<ListenPlan> {
        None
    }
}

/// A dialect's part of the documents that describe the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// Its part of an `OpenAPI` 3.1 document: its own routes, and its fields on the shared ones; null for none.
    pub openapi: serde_json::Value,
    /// Its part of an `AsyncAPI` 3.0 document: one channel with the protocol's name, its operations and its messages.
    pub asyncapi: &'static str,
}

/// The defaults of a dialect's configuration, and the settings that only this dialect has.
#[derive(Debug, Clone, Copy, SmartDefault)]
pub struct DialectDefaults {
    /// Its listeners without configuration, the first if it is served alone; empty for a dialect that must be
    /// configured.
    pub binds: &'static [&'static str],
    /// Whether every listener serves it, whatever dialects the listener names.
    pub everywhere: bool,
    /// Connections per node.
    #[default(10_000)]
    pub max_connections: usize,
    /// Connections from one address; 0 for no limit.
    pub max_connections_per_ip: usize,
    /// Connections of one user; 0 for no limit.
    pub max_connections_per_user: usize,
    /// Bytes in a message from a client.
    #[default(64 * 1024)]
    pub max_message_size: usize,
    /// The time between two pings to a connection.
    #[default(Duration::from_secs(30))]
    pub ping_interval: Duration,
    /// The settings that only this dialect has.
    pub options: OptionsType,
    /// Environment variables of other names that configure this dialect.
    pub inherited: &'static [Inherited],
    /// Values that differ in the production profile: each key with its table's name before it, and its TOML value.
    pub production: &'static [(&'static str, &'static str)],
}

impl DialectDefaults {
    /// Returns whether it is for tests: it must be named by a listener, and nothing documents it.
    pub fn is_hidden(&self) -> bool {
        self.binds.is_empty() && !self.everywhere
    }
}
