//! The limits and times of one dialect.

use std::time::Duration;

/// The limits and times of one dialect on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectSettings {
    /// The most connections.
    pub max_connections: usize,
    /// The most connections from one address; 0 is no limit.
    pub max_connections_per_ip: usize,
    /// The most connections of one user; 0 is no limit.
    pub max_connections_per_user: usize,
    /// The most channels, patterns and rooms of one connection.
    pub max_subscriptions: usize,
    /// The most messages per second from one client; 0 is no limit.
    pub max_messages_per_second: u32,
    /// The most messages that one client may send in a burst.
    pub message_burst: u32,
    /// The most bytes in a message from a client.
    pub max_message_size: usize,
    /// The most frames in a message from a client.
    pub max_fragments: usize,
    /// The most messages that wait for one connection.
    pub send_queue: usize,
    /// The most bytes that wait for one connection.
    pub send_queue_size: usize,
    /// The time between two pings to a client.
    pub ping_interval: Duration,
    /// The time that a client may be silent before its connection ends.
    pub ping_timeout: Duration,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// The shortest message that is compressed, in bytes.
    pub compression_threshold: usize,
}
