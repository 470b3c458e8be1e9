//! The figures that dialects put in their documents' words.

use std::time::{Duration, SystemTime};

use crate::BrokerHealth;

/// A JSON object.
pub type JsonMap = serde_json::Map<String, serde_json::Value>;

/// What is true of the node as a whole.
#[derive(Debug, Clone)]
pub struct NodeFacts<'a> {
    /// The time of the report.
    pub now: SystemTime,
    /// Since the server started.
    pub uptime: Duration,
    /// Fanfare's version.
    pub version: &'static str,
    /// How the broker is.
    pub broker: &'a BrokerHealth,
    /// Publications that came in by the broker or the Redis-protocol door since the start.
    pub publications_received: u64,
    /// Publications dropped because they were not of the documented form.
    pub publications_rejected: u64,
    /// Shards, that is, threads that serve connections.
    pub shards: usize,
}

/// What is true of one dialect on this node.
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
    /// Messages that did not get out since the start: the client's queue was full, or its connection ended before it
    /// had taken them.
    pub failed: u64,
    /// Messages received from clients since the start.
    pub received: u64,
    /// Connections ended by an error (protocol violations, transport errors, panics) since the start.
    pub errors: u64,
}
