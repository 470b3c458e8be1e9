//! Figures: this dialect's part of `GET /health` and `GET /metrics`, and the whole of `GET /info`.

use fanfare_core::{DialectFacts, HttpReply, JsonMap, NodeFacts, Report};
use serde_json::{Value, json};

/// The server itself adds `status` and `reason`.
pub(super) fn health(node: &NodeFacts<'_>, own: &DialectFacts) -> JsonMap {
    JsonMap::from_iter([
        ("active_connections".to_owned(), own.active.into()),
        ("max_connections".to_owned(), own.max_connections.into()),
        ("uptime_seconds".to_owned(), node.uptime.as_secs().into()),
    ])
}

/// Counted since the server started, but for the connections that are open now.
pub(super) fn metrics(own: &DialectFacts) -> JsonMap {
    let figures = [
        ("active_connections", own.active),
        ("total_connections", own.opened),
        ("messages_sent", own.sent),
        ("messages_received", own.received),
        ("errors", own.errors),
    ];
    figures
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect()
}

/// `GET /info`. Times are whole seconds.
pub(super) fn info(report: &Report<'_>) -> HttpReply {
    let body = json!({
        "server": {
            "name": "WebSocket Real-time Communication Server",
            "version": report.node.version,
            "config": {
                "host": report.listener.ip(),
                "port": report.listener.port(),
                "max_connections": report.own.max_connections,
                "heartbeat_interval_secs": report.settings.ping_interval.as_secs(),
                "client_timeout_secs": report.settings.ping_timeout.as_secs(),
                "max_frame_size": report.settings.max_message_size,
            },
        },
        "stats": Value::Object(metrics(&report.own)),
        "features": [
            "websocket",
            "heartbeat",
            "topic_subscription",
            "broadcast_messaging",
            "direct_messaging",
            "connection_management",
            "metrics",
        ],
    });
    HttpReply::json(200, &body)
}
