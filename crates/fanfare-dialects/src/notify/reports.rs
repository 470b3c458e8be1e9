//! What the notify protocol's readers find on `/health` and `/metrics`.

use fanfare_core::{BrokerHealth, DialectFacts, JsonMap, NodeFacts};
use serde_json::{Value, json};

/// `redis` and `websocket`; the server itself adds what all documents share.
pub(super) fn health(node: &NodeFacts<'_>, own: &DialectFacts) -> JsonMap {
    object(json!({
        "redis": redis(node.broker),
        "websocket": { "active_connections": own.active, "total_unique_users": own.users },
    }))
}

/// `service`, `connections` and `messages`.
pub(super) fn metrics(node: &NodeFacts<'_>, own: &DialectFacts) -> JsonMap {
    object(json!({
        "service": "websocket-service",
        "connections": { "active": own.active, "total_unique_users": own.users },
        "messages": {
            "received_from_redis": node.publications_received,
            "sent_to_clients": own.sent,
            "failed": node.publications_rejected + own.failed,
        },
    }))
}

fn redis(broker: &BrokerHealth) -> Value {
    match broker {
        BrokerHealth::Embedded => json!({ "status": "disabled" }),
        BrokerHealth::Connected { round_trip } => {
            json!({ "status": "connected", "ping_ms": (round_trip.as_secs_f64() * 100_000.0).round() / 100.0 })
        }
        BrokerHealth::Disconnected { error } => json!({ "status": "disconnected", "error": error }),
    }
}

fn object(value: Value) -> JsonMap {
    match value {
        Value::Object(map) => map,
        _ => JsonMap::new(),
    }
}
