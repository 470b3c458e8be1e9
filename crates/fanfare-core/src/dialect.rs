//! The port to client protocols.

use std::{sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    About, Announcement, BrokerHealth, Call, Conversation, DialectFacts, Ending, Endpoint, Event, Figure,
    Handshake, HttpError, HttpReply, Identity, JsonMap, ListenPlan, Listening, Member, NodeFacts, Offer,
    Options, Plan, Presence, Refusal, Rejection, policy::PolicyOptions,
};

/// What is known of a client protocol before it is configured.
pub trait DialectKind: Send + Sync {
    /// Its name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// The path its clients connect to.
    fn path(&self) -> &'static str;

    /// How a client comes to hear what is `wanted`, for our own command line; `None` when this protocol has no way.
    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        let _ = wanted;
        None
    }

    /// One sentence for the configuration reference.
    fn summary(&self) -> &'static str;

    /// What this protocol adds to the documents that describe the server.
    fn describe(&self) -> Description {
        Description::default()
    }

    /// Where it listens and what it allows by default.
    fn defaults(&self) -> DialectDefaults;

    /// Which of its options [`Dialect::shape_policy`] reads. Like access rules, they are applied when the configuration is
    /// read again; all others need a restart.
    fn policy_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// The protocol with these options.
    fn open(&self, options: &Options) -> Arc<dyn Dialect>;
}

/// One client protocol: what it answers at the door, and how an event looks in it.
///
/// A dialect is pure: it sees no socket and no clock. What belongs to one connection lives in its [`Conversation`].
pub trait Dialect: Send + Sync {
    // At the door.

    /// Whether this dialect claims the handshake, on a listener where two share a path. The first that does has it,
    /// else the last.
    fn claims(&self, handshake: &Handshake<'_>) -> bool {
        let _ = handshake;
        false
    }

    /// Whether `text`, the first of its kind from a client of another dialect on a shared path, is of this dialect.
    fn recognizes(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// Finds what matters to this dialect in an upgrade request.
    ///
    /// # Errors
    /// When the request is refused for what it does or does not offer.
    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal>;

    /// Whether somebody who proved to be that, or nobody, may come in.
    ///
    /// # Errors
    /// The reason why not.
    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        let _ = identity;
        Ok(())
    }

    /// What a client without a token may do here, and which setting forbids it, as the end of a sentence that begins
    /// with "anyone may"; `None` if nothing. A start warns of it.
    fn open_to_anyone(&self) -> Option<&'static str> {
        None
    }

    /// The name of a connection whose client gave none; `None` where connections have no names.
    fn name_for(&self, connection: Uuid) -> Option<String> {
        let _ = connection;
        None
    }

    /// How this protocol says a refusal.
    fn refuse(&self, refusal: Refusal, about: &About<'_>) -> Rejection;

    /// Adds to the access rules' defaults what this dialect's options say.
    fn shape_policy(&self, policy: &mut PolicyOptions) {
        let _ = policy;
    }

    // While a connection lives.

    /// The state of a new connection; `name` is what it is called, where connections have names.
    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation>;

    /// What reaches a connection without having been subscribed to.
    fn hears(&self) -> Hearing;

    /// The event's text in this protocol, without framing; `None` when its clients are not shown such events. Runs
    /// once per event and node, however many connections receive it.
    fn render(&self, event: &Event) -> Option<Bytes>;

    /// What the server publishes in a room when `member` joins it with a first connection, or leaves it with the last one;
    /// `None` for nothing. The connection itself is answered apart from that, and before it.
    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let _ = (change, member);
        None
    }

    /// How long a user stays in its rooms after a connection was lost: one that ended without [`Command::Leave`], without a
    /// close frame of its client, and not by the server's decision.
    ///
    /// [`Command::Leave`]: crate::Command::Leave
    fn leave_grace(&self) -> Duration {
        Duration::ZERO
    }

    /// The event types that this protocol's server uses for what it says itself. No client may publish them.
    fn own_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is sent to a connection besides a WebSocket ping.
    fn ping(&self, now: SystemTime) -> Option<Bytes> {
        let _ = now;
        None
    }

    /// How often [`Dialect::tick`] is called; `None` for never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// What is sent to all connections of this dialect now; `count` says for the how manieth time, from 1, and `id` is
    /// a fresh id.
    fn tick(&self, count: u64, id: Uuid, node: &NodeFacts, own: &DialectFacts) -> Option<Bytes> {
        let _ = (count, id, node, own);
        None
    }

    /// What is sent to all connections of this dialect when a drain begins; `id` is a fresh id.
    fn drain_notice(&self, id: Uuid, now: SystemTime) -> Option<Bytes> {
        let _ = (id, now);
        None
    }

    /// What is sent to a connection just before it is ended.
    fn last_words(&self, ending: Ending, now: SystemTime) -> Option<Bytes> {
        let _ = (ending, now);
        None
    }

    /// The close code and reason with which this protocol ends a connection.
    fn end(&self, ending: Ending) -> (u16, &'static str);

    // Over HTTP.

    /// The fields this protocol's document promises on `GET /health`, for which the broker was asked.
    fn health(&self, broker: &BrokerHealth, node: &NodeFacts, own: &DialectFacts) -> JsonMap;

    /// The fields this protocol's document promises on `GET /metrics`.
    fn metrics(&self, node: &NodeFacts, own: &DialectFacts) -> JsonMap;

    /// The figures this protocol's document promises among the Prometheus metrics.
    fn figures(&self, node: &NodeFacts, own: &DialectFacts) -> Vec<Figure> {
        let _ = (node, own);
        Vec::new()
    }

    /// The routes of this protocol's own.
    fn endpoints(&self) -> &'static [Endpoint] {
        &[]
    }

    /// Answers a request to one of [`Dialect::endpoints`].
    fn call(&self, call: &Call<'_>) -> Plan {
        let (message, id, now) = ("not found", call.id, call.now);
        Plan::Reply(self.fail(&HttpError {
            status: 404,
            message,
            id,
            now,
        }))
    }

    /// How a failed request to one of this protocol's routes looks, its upgrade included.
    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        HttpReply::json(error.status, &serde_json::json!({ "error": error.message }))
    }
}

/// Parts of documents, each a JSON object that is merged with those of the others; empty for none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// Of an `OpenAPI` 3.1 document: the routes of the protocol's own, and its fields on the shared ones; null for none.
    pub openapi: serde_json::Value,
    /// Of an `AsyncAPI` 3.0 document: one channel, which has the protocol's name, its operations and its messages.
    pub asyncapi: &'static str,
}

/// How connections of a dialect come to hear of what is not on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hearing {
    /// Events for the connection's user.
    pub user: Hears,
    /// Events for everyone.
    pub everyone: Hears,
}

/// See [`Hearing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// Without having asked.
    Always,
    /// If it subscribed to the channel that shows such events: the user's personal one, or
    /// [`EVERYONE_CHANNEL`](crate::EVERYONE_CHANNEL).
    Subscribed,
    /// Not at all.
    Never,
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
