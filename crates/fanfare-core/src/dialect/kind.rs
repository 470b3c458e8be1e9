//! A protocol before it is configured: its name, its path, its options and their defaults.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Dialect, Inherited, ListenPlan, Listening, NoOptions, Options, OptionsType, policy::PolicyOptions,
};

/// A client protocol, before it is configured.
///
/// # Examples
/// ```
/// use fanfare_core::DialectKind;
///
/// static CHAT: DialectKind = DialectKind {
///     binds: &["0.0.0.0:8090"],
///     max_message_size: 4096,
///     ..DialectKind::new("chat", "/chat", "Messages between two users.", |_options| todo!())
/// };
/// assert_eq!((CHAT.name, CHAT.max_connections), ("chat", 10_000));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DialectKind {
    /// Its name in configuration, logs and metrics.
    pub name: &'static str,
    /// The path its clients connect to; `{name}` in it stands for any one segment.
    pub path: &'static str,
    /// One sentence for the configuration reference.
    pub summary: &'static str,
    /// Returns the configured protocol.
    pub open: fn(&Options) -> Arc<dyn Dialect>,
    /// The addresses of its listeners without configuration, the first if it is served alone; none if it must be
    /// configured.
    pub binds: &'static [&'static str],
    /// Whether every listener serves it, whatever dialects the listener names.
    pub everywhere: bool,
    /// The default maximum of connections per node.
    pub max_connections: usize,
    /// The default maximum of connections from one address; 0 for no limit.
    pub max_connections_per_ip: usize,
    /// The default maximum of connections of one user; 0 for no limit.
    pub max_connections_per_user: usize,
    /// The default maximum of bytes in a message from a client.
    pub max_message_size: usize,
    /// The default time between two pings to a connection.
    pub ping_interval: Duration,
    /// The settings that only this dialect has.
    pub options: OptionsType,
    /// Environment variables of other names that configure this dialect.
    pub inherited: &'static [Inherited],
    /// The values that differ in the production profile: each key with its table's name before it, and its TOML value.
    pub production: &'static [(&'static str, &'static str)],
    /// Changes the defaults of the access rules as its options require.
    pub shape_policy: fn(&Options, &mut PolicyOptions),
    /// The options that [`shape_policy`](Self::shape_policy) reads. A reload of the configuration applies them, like
    /// access rules; all others need a restart.
    pub policy_options: &'static [&'static str],
    /// The prefixes of its rooms' names; the room's id follows. In every dialect these channels have members.
    pub rooms: &'static [&'static str],
    /// Returns its part of an `OpenAPI` 3.1 document: its own routes, and its fields on the shared ones; null for none.
    pub openapi: fn() -> Value,
    /// Its part of an `AsyncAPI` 3.0 document: one channel with the protocol's name, its operations and its messages.
    pub asyncapi: &'static str,
    /// Returns how `fanfare listen` receives the requested events; `None` if this protocol cannot deliver them.
    pub listen: fn(&Listening<'_>) -> Option<ListenPlan>,
}

impl DialectKind {
    /// Returns a protocol without listeners, options, rooms and documents, with the defaults of most protocols.
    pub const fn new(
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        open: fn(&Options) -> Arc<dyn Dialect>,
    ) -> Self {
        Self {
            name,
            path,
            summary,
            open,
            binds: &[],
            everywhere: false,
            max_connections: 10_000,
            max_connections_per_ip: 0,
            max_connections_per_user: 0,
            max_message_size: 64 * 1024,
            ping_interval: Duration::from_secs(30),
            options: OptionsType::of::<NoOptions>(),
            inherited: &[],
            production: &[],
            shape_policy: |_, _| {},
            policy_options: &[],
            rooms: &[],
            openapi: || Value::Null,
            asyncapi: "",
            listen: |_| None,
        }
    }

    /// Returns whether it is for tests: it must be named by a listener, and nothing documents it.
    pub fn is_hidden(&self) -> bool {
        self.binds.is_empty() && !self.everywhere
    }
}
