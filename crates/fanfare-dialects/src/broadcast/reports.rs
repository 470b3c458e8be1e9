//! The server's figures: `GET /status`, and what this protocol's readers find on `/health` and `/metrics`.

use fanfare_core::{
    ConnectionFacts, DialectFacts, Figure, FigureValue, HttpReply, JsonMap, NodeFacts, Report, timestamp,
};
use serde_json::{Value, json};

/// The path of the full report.
pub(super) const PATH: &str = "/status";

/// `message`, `connections` and `server_info`; the server itself adds what all documents share.
pub(super) fn health(node: &NodeFacts<'_>, own: &DialectFacts, interval_seconds: u64) -> JsonMap {
    object(json!({
        "message": "WebSocket Notification Server is running",
        "connections": {
            "active": own.active,
            "total": own.opened,
            "max_allowed": own.max_connections,
        },
        "server_info": {
            "version": node.version,
            "workers": node.shards,
            "notification_interval": interval_seconds,
        },
    }))
}

/// `connections`, `notification_service` and `server`.
pub(super) fn metrics(node: &NodeFacts<'_>, own: &DialectFacts, interval_seconds: u64) -> JsonMap {
    object(json!({
        "connections": {
            "active_connections": own.active,
            "total_connections": own.opened,
            "messages_sent": own.sent,
            "uptime_seconds": uptime(node),
        },
        "notification_service": {
            "is_running": interval_seconds > 0,
            "notification_interval": interval_seconds,
            "start_time": timestamp(node.started_at).to_string(),
        },
        "server": {
            "version": node.version,
            "workers": node.shards,
            "max_connections": own.max_connections,
            "debug_mode": false,
        },
    }))
}

/// The four metrics that existing dashboards know. They count this protocol's own connections.
pub(super) fn figures(node: &NodeFacts<'_>, own: &DialectFacts) -> Vec<Figure> {
    let figure = |name, help, value| Figure { name, help, value };
    vec![
        figure(
            "websocket_active_connections",
            "Number of active WebSocket connections",
            FigureValue::Gauge(own.active),
        ),
        figure(
            "websocket_total_connections",
            "Total number of connections since server start",
            FigureValue::Counter(own.opened),
        ),
        figure(
            "websocket_notifications_sent",
            "Total number of notifications sent",
            FigureValue::Counter(notifications(own)),
        ),
        figure(
            "websocket_server_uptime_seconds",
            "Server uptime in seconds",
            FigureValue::Seconds(node.uptime.as_secs_f64()),
        ),
    ]
}

/// What was sent unasked.
fn notifications(own: &DialectFacts) -> u64 {
    own.sent.saturating_sub(own.answers)
}

/// The answer to `GET /status`.
pub(super) fn status(report: &Report<'_>, interval_seconds: u64) -> HttpReply {
    let (node, own) = (&report.node, &report.own);
    let details: Vec<Value> = report.connections.iter().map(connection).collect();
    let body = json!({
        "server": {
            "status": if report.draining { "shutting_down" } else { "running" },
            "version": node.version,
            "uptime_seconds": uptime(node),
            "start_time": timestamp(node.started_at).to_string(),
            "current_time": timestamp(node.now).to_string(),
        },
        "connections": {
            "active": own.active,
            "total": own.opened,
            "max_allowed": own.max_connections,
            "details": details,
        },
        "notification_service": {
            "is_running": interval_seconds > 0,
            "notifications_sent": notifications(own),
            "notification_interval": interval_seconds,
        },
        "shutdown": {
            "shutdown_requested": report.draining,
            "shutdown_timeout": report.shutdown_timeout.as_secs(),
        },
        "configuration": {
            "host": report.listener.ip().to_string(),
            "port": report.listener.port(),
            "workers": node.shards,
            "debug": false,
            "log_level": report.log_level.to_ascii_uppercase(),
        },
    });
    HttpReply::json(200, &body)
}

fn connection(facts: &ConnectionFacts) -> Value {
    json!({
        "client_id": facts.name,
        "connected_at": timestamp(facts.opened_at).to_string(),
        "last_ping": facts.pinged_at.map(|at| timestamp(at).to_string()),
        "user_agent": facts.user_agent,
    })
}

/// Seconds since the start, with one decimal.
pub(super) fn uptime(node: &NodeFacts<'_>) -> f64 {
    (node.uptime.as_secs_f64() * 10.0).round() / 10.0
}

fn object(value: Value) -> JsonMap {
    match value {
        Value::Object(map) => map,
        _ => JsonMap::new(),
    }
}
