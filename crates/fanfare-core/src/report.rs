//! The figures that dialects report over HTTP.

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
    /// The time of the server's start.
    pub started_at: SystemTime,
    /// Fanfare's version.
    pub version: &'static str,
    /// Publications received through the broker or the Redis-protocol door since the start.
    pub publications_received: u64,
    /// Malformed publications, which were dropped, since the start.
    pub publications_rejected: u64,
    /// The number of shards.
    pub shards: usize,
}

/// Figures of one dialect on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DialectFacts {
    /// Open connections.
    pub active: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Different users among the open connections.
    pub users: u64,
    /// The maximum of connections.
    pub max_connections: u64,
    /// Messages written or queued for clients since the start.
    pub sent: u64,
    /// Of those, replies to clients, welcomes included.
    pub answers: u64,
    /// Messages that were not sent since the start, because the queue was full or the connection ended.
    pub failed: u64,
    /// Messages received from clients since the start.
    pub received: u64,
    /// Connections ended by an error (protocol violations, transport errors, panics) since the start.
    pub errors: u64,
}

/// A figure of a dialect among the Prometheus metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name in the Prometheus text format.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Its value.
    pub value: FigureValue,
}

/// The value of a figure, with its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FigureValue {
    /// A counter, which only grows.
    Counter(u64),
    /// A gauge.
    Gauge(u64),
    /// A time, in seconds.
    Seconds(f64),
}

/// The server's figures for the routes of a dialect.
#[derive(Debug, Clone)]
pub struct Report {
    /// The node's figures.
    pub node: NodeFacts,
    /// The dialect's figures.
    pub own: DialectFacts,
    /// The dialect's settings.
    pub settings: DialectReport,
    /// The address of the listener that received the request.
    pub listener: SocketAddr,
    /// The log level, such as `info`.
    pub log_level: &'static str,
    /// Whether the server drains.
    pub draining: bool,
    /// The longest duration of a drain.
    pub shutdown_timeout: Duration,
    /// The dialect's open connections, oldest first, if the plan requests them.
    pub connections: Vec<ConnectionFacts>,
}

/// The settings that a dialect reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialectReport {
    /// The time between two pings.
    pub ping_interval: Duration,
    /// The time without a message after which a connection is closed.
    pub ping_timeout: Duration,
    /// The maximum size of a client's message in bytes.
    pub max_message_size: u64,
}

/// Figures of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its name, if connections of the dialect have names.
    pub name: Option<Box<str>>,
    /// The time when it was opened.
    pub opened_at: SystemTime,
    /// The time of its last ping or pong; `None` before the first.
    pub pinged_at: Option<SystemTime>,
    /// Its `User-Agent`, if the dialect stores it.
    pub user_agent: Option<Box<str>>,
}
