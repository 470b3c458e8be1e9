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
    /// Bytes in a message from a client.
    pub max_message_size: usize,
    /// Frames in a message from a client.
    pub max_fragments: usize,
    /// Channels, patterns and rooms of one connection.
    pub max_subscriptions: usize,
    /// Messages from one client in a second; 0 for no limit.
    pub max_messages_per_second: u32,
    /// Messages from one client at once, where there is a limit.
    pub message_burst: u32,
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
