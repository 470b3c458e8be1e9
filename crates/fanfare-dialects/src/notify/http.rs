//! This protocol's fields on `/health` and `/metrics`.

use fanfare_core::{BrokerHealth, DialectFacts, JsonMap, NodeFacts, Respond, fields};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::Notify;

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(components(schemas(Health<'static>, Metrics)))]
pub(super) struct Api;

#[derive(Serialize, ToSchema)]
struct Health<'a> {
    #[schema(inline)]
    redis: Redis<'a>,
    #[schema(inline)]
    websocket: WebSocket,
}

#[derive(Serialize, ToSchema)]
struct Redis<'a> {
    #[schema(inline)]
    status: RedisStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ping_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RedisStatus {
    Disabled,
    Connected,
    Disconnected,
}

#[derive(Serialize, ToSchema)]
struct WebSocket {
    active_connections: u64,
    total_unique_users: u64,
}

#[derive(Serialize, ToSchema)]
struct Metrics {
    service: &'static str,
    #[schema(inline)]
    connections: Connections,
    #[schema(inline)]
    messages: Messages,
}

#[derive(Serialize, ToSchema)]
struct Connections {
    active: u64,
    total_unique_users: u64,
}

#[derive(Serialize, ToSchema)]
struct Messages {
    received_from_redis: u64,
    sent_to_clients: u64,
    failed: u64,
}

impl Respond for Notify {
    /// Returns `redis` and `websocket`; the server adds the fields of all documents.
    fn health(&self, broker: &BrokerHealth, _node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Health {
            redis: Redis::of(broker),
            websocket: WebSocket {
                active_connections: own.active,
                total_unique_users: own.users,
            },
        })
    }

    /// Returns `service`, `connections` and `messages`.
    fn metrics(&self, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Metrics {
            service: "websocket-service",
            connections: Connections {
                active: own.active,
                total_unique_users: own.users,
            },
            messages: Messages {
                received_from_redis: node.publications_received,
                sent_to_clients: own.sent,
                failed: node.publications_rejected + own.failed,
            },
        })
    }
}

impl<'a> Redis<'a> {
    fn of(broker: &'a BrokerHealth) -> Self {
        let (status, ping_ms, error) = match broker {
            BrokerHealth::Embedded => (RedisStatus::Disabled, None, None),
            BrokerHealth::Connected { round_trip } => {
                let milliseconds = (round_trip.as_secs_f64() * 100_000.0).round() / 100.0;
                (RedisStatus::Connected, Some(milliseconds), None)
            }
            BrokerHealth::Disconnected { error } => (RedisStatus::Disconnected, None, Some(&**error)),
        };
        Self {
            status,
            ping_ms,
            error,
        }
    }
}
