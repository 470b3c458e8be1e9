//! The figures that dialects render in their documents' fields.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::Value;

/// A JSON object.
pub type JsonMap = serde_json::Map<String, Value>;

/// Returns the fields of `report`, which is a struct or a map.
pub fn fields(report: &impl Serialize) -> JsonMap {
    match serde_json::to_value(report) {
        Ok(Value::Object(fields)) => fields,
        _ => JsonMap::new(),
    }
}

/// Figures of the whole node.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The time of the report.
    pub now: SystemTime,
    /// The time since the server started.
    pub uptime: Duration,
    /// When the server started.
    pub started_at: SystemTime,
    /// Fanfare's version.
    pub version: &'static str,
    /// Publications received from the broker or at the Redis-protocol door since the start.
    pub publications_received: u64,
    /// Publications dropped because they were malformed.
    pub publications_rejected: u64,
    /// Shards: threads that serve connections.
    pub shards: usize,
}

/// Figures of one dialect on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DialectFacts {
    /// Connections open now.
    pub active: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Different users among the open connections.
    pub users: u64,
    /// The most connections it may hold.
    pub max_connections: u64,
    /// Messages sent to clients since the start: written, or waiting in a queue.
    pub sent: u64,
    /// Of those, replies to clients, welcomes included.
    pub answers: u64,
    /// Messages not sent since the start, because the client's queue was full or its connection ended first.
    pub failed: u64,
    /// Messages received from clients since the start.
    pub received: u64,
    /// Connections ended by an error (protocol violations, transport errors, panics) since the start.
    pub errors: u64,
}

/// A figure of a dialect for monitoring systems.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name in the Prometheus text format.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Its value.
    pub value: FigureValue,
}

/// A figure's kind and value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FigureValue {
    /// A counter: it only grows.
    Counter(u64),
    /// A gauge: its current value.
    Gauge(u64),
    /// A time, in seconds.
    Seconds(f64),
}

/// The server's figures for a dialect's own routes.
#[derive(Debug, Clone)]
pub struct Report {
    /// The node's figures.
    pub node: NodeFacts,
    /// The dialect's.
    pub own: DialectFacts,
    /// The dialect's settings.
    pub settings: DialectReport,
    /// The address of the listener that was asked.
    pub listener: SocketAddr,
    /// The log level, such as `info`.
    pub log_level: &'static str,
    /// Whether the server drains.
    pub draining: bool,
    /// The longest duration of a drain.
    pub shutdown_timeout: Duration,
    /// The dialect's open connections, oldest first, if the plan asked for them.
    pub connections: Vec<ConnectionFacts>,
}

/// The settings of a dialect that its document shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialectReport {
    /// Between two pings.
    pub ping_interval: Duration,
    /// Silence after which a connection is closed.
    pub ping_timeout: Duration,
    /// Bytes in a message from a client.
    pub max_message_size: u64,
}

/// Figures of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its name, if connections of the dialect have names.
    pub name: Option<Box<str>>,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// When it last answered or sent a ping; `None` before the first.
    pub pinged_at: Option<SystemTime>,
    /// Its `User-Agent`, if the dialect keeps it.
    pub user_agent: Option<Box<str>>,
}
