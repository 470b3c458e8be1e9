//! The port to client protocols.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;

use crate::{DialectFacts, Ending, Event, Handshake, Identity, JsonMap, NodeFacts, Offer, Refusal};

/// One client protocol: what it answers at the door, and how an event looks in it.
///
/// A dialect is pure: it sees no socket and no clock. What belongs to one connection lives in its [`Conversation`].
pub trait Dialect: Send + Sync {
    /// Its name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// The path its clients connect to.
    fn path(&self) -> &'static str;

    /// The request target with which a client that holds `token` connects, for our own command line.
    fn request_target(&self, token: &str) -> String;

    /// One sentence for the configuration reference.
    fn summary(&self) -> &'static str;

    /// Where it listens and what it allows by default.
    fn defaults(&self) -> DialectDefaults;

    /// Finds the credential in an upgrade request.
    ///
    /// # Errors
    /// When the request is refused for what it does or does not offer.
    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal>;

    /// How this protocol says a refusal.
    fn refuse(&self, refusal: Refusal) -> Rejection;

    /// The close code and reason with which this protocol ends a connection.
    fn end(&self, ending: Ending) -> (u16, &'static str);

    /// The state of a new connection.
    fn converse(&self, identity: Option<&Identity>) -> Box<dyn Conversation>;

    /// The event's text in this protocol, without framing; `None` when its clients are not shown such events. Runs
    /// once per event and node, however many connections receive it.
    fn render(&self, event: &Event) -> Option<Bytes>;

    /// The fields this protocol's document promises on `GET /health`.
    fn health(&self, node: &NodeFacts<'_>, own: &DialectFacts) -> JsonMap;

    /// The fields this protocol's document promises on `GET /metrics`.
    fn metrics(&self, node: &NodeFacts<'_>, own: &DialectFacts) -> JsonMap;
}

/// One connection's side of the protocol, as a state machine: messages in, [`Step`]s out.
pub trait Conversation: Send {
    /// The connection is open.
    fn opened(&mut self, now: SystemTime, steps: &mut Steps) {
        let _ = (now, steps);
    }

    /// A whole message arrived.
    fn received(&mut self, message: Message<'_>, now: SystemTime, steps: &mut Steps);
}

/// A message from a client, put together from its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Anything else.
    Binary(&'a [u8]),
}

/// What a conversation wants done, in order.
pub type Steps = Vec<Step>;

/// One thing a conversation wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this text to the client.
    SendText(Bytes),
    /// Send these bytes to the client.
    SendBinary(Bytes),
    /// Close the connection with this code and reason (at most 123 bytes).
    Close(u16, Cow<'static, str>),
}

/// How a refused client is told: by an HTTP answer in place of the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status code.
    pub status: u16,
    /// The JSON body; empty for none.
    pub body: Cow<'static, str>,
}

/// What a dialect says of its configuration: defaults, where they differ from the common ones, and settings of its own.
///
/// Write `..DialectDefaults::default()` for what is common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialectDefaults {
    /// Where it listens when nothing is configured; empty for a dialect that must be asked for. With the profile of
    /// its name it is alone on the first of them.
    pub binds: &'static [&'static str],
    /// Connections per node.
    pub max_connections: usize,
    /// Connections from one address; 0 for no limit.
    pub max_connections_per_ip: usize,
    /// Connections of one user; 0 for no limit.
    pub max_connections_per_user: usize,
    /// Bytes in a message from a client.
    pub max_message_size: usize,
    /// The settings that only this dialect has.
    pub options: &'static [crate::OptionSpec],
    /// Environment variables of other names that configure this dialect.
    pub inherited: &'static [crate::Inherited],
    /// Values that differ in the production profile: a key of this dialect's table with the table's name before it,
    /// and its TOML value.
    pub production: &'static [(&'static str, &'static str)],
}

impl Default for DialectDefaults {
    fn default() -> Self {
        Self {
            binds: &[],
            max_connections: 10_000,
            max_connections_per_ip: 0,
            max_connections_per_user: 0,
            max_message_size: 64 * 1024,
            options: &[],
            inherited: &[],
            production: &[],
        }
    }
}
