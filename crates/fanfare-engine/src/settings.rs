//! What the operator allows the connections of one dialect.

use std::time::Duration;

/// Limits and times of one dialect on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectSettings {
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address; 0 for no limit.
    pub max_connections_per_ip: usize,
    /// Connections at once of one user; 0 for no limit.
    pub max_connections_per_user: usize,
    /// Channels, patterns and rooms that one connection may be subscribed to.
    pub max_subscriptions: usize,
    /// Messages in a second from one client; 0 for no limit.
    pub max_messages_per_second: u32,
    /// Messages that may come at once before that limit holds; at least a second's worth.
    pub message_burst: u32,
    /// Bytes in a message from a client.
    pub max_message_size: usize,
    /// Frames in a message from a client.
    pub max_fragments: usize,
    /// Messages waiting for one connection.
    pub send_queue: usize,
    /// Bytes waiting for one connection.
    pub send_queue_size: usize,
    /// Between two pings to a client.
    pub ping_interval: Duration,
    /// Silence after which a client is taken for dead.
    pub ping_timeout: Duration,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// Messages of fewer bytes are sent as they are.
    pub compression_threshold: usize,
}
