//! A protocol before it is configured: its name, its path, its options and its defaults.

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
    /// The path of its connections; `{name}` in it is any segment.
    pub path: &'static str,
    /// One sentence for the configuration reference.
    pub summary: &'static str,
    /// Returns the configured protocol.
    pub open: fn(&Options) -> Arc<dyn Dialect>,
    /// The default addresses of its listeners. `--dialect` uses only the first. Without an address, a listener must name the
    /// dialect.
    pub binds: &'static [&'static str],
    /// Whether every listener serves it, even one that does not name it.
    pub everywhere: bool,
    /// The default maximum of connections per node.
    pub max_connections: usize,
    /// The default maximum of connections from one address; 0 for no limit.
    pub max_connections_per_ip: usize,
    /// The default maximum of connections of one user; 0 for no limit.
    pub max_connections_per_user: usize,
    /// The default maximum size of a client's message in bytes.
    pub max_message_size: usize,
    /// The default time between two pings to a connection.
    pub ping_interval: Duration,
    /// The settings that only this dialect has.
    pub options: OptionsType,
    /// Environment variables with the names of other servers.
    pub inherited: &'static [Inherited],
    /// The values of the production profile: each key with the name of its table, and its TOML value.
    pub production: &'static [(&'static str, &'static str)],
    /// Changes the defaults of access by its options.
    pub shape_policy: fn(&Options, &mut PolicyOptions),
    /// The options that [`shape_policy`](Self::shape_policy) reads. A reload of the configuration applies them; all others
    /// need a restart.
    pub policy_options: &'static [&'static str],
    /// The prefixes of its rooms' names; the room's id follows. These channels are rooms in all dialects.
    pub rooms: &'static [&'static str],
    /// Returns its part of the `OpenAPI` 3.1 document: its routes, and its fields on shared routes; null for none.
    pub openapi: fn() -> Value,
    /// Its part of the `AsyncAPI` 3.0 document: a channel with the protocol's name, its operations and its messages.
    pub asyncapi: &'static str,
    /// Returns the plan of `fanfare listen`; `None` if the protocol cannot deliver the requested events.
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

    /// Returns `true` for a dialect for tests: no listener serves it by default, and it is not documented.
    pub fn is_hidden(&self) -> bool {
        self.binds.is_empty() && !self.everywhere
    }
}
