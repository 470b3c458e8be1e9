//! This protocol's fields on `/health` and `/metrics`, `GET /info`, and the codes of errors.

use std::net::IpAddr;

use fanfare_core::{
    BrokerHealth, Call, DialectFacts, Endpoint, HttpError, HttpReply, JsonMap, NodeFacts, Plan, Report,
    Respond, fields,
};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::Realtime;
use crate::api_error::{self, ApiError};

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Server information", description = "On listeners that serve realtime.")),
    paths(info),
    components(schemas(Health, Metrics, ApiError<'static>))
)]
pub(super) struct Api;

#[derive(Serialize, ToSchema)]
struct Health {
    active_connections: u64,
    max_connections: u64,
    uptime_seconds: u64,
}

#[derive(Serialize, ToSchema)]
struct Metrics {
    active_connections: u64,
    total_connections: u64,
    messages_sent: u64,
    messages_received: u64,
    errors: u64,
}

impl Metrics {
    fn of(own: &DialectFacts) -> Self {
        Self {
            active_connections: own.active,
            total_connections: own.opened,
            messages_sent: own.sent,
            messages_received: own.received,
            errors: own.errors,
        }
    }
}

/// The server's version, settings and features.
#[derive(Serialize, ToSchema)]
struct Info {
    #[schema(inline)]
    server: Server,
    #[schema(inline)]
    stats: Metrics,
    #[schema(value_type = Vec<String>)]
    features: &'static [&'static str],
}

#[derive(Serialize, ToSchema)]
struct Server {
    name: &'static str,
    version: &'static str,
    #[schema(inline)]
    config: Config,
}

#[derive(Serialize, ToSchema)]
struct Config {
    #[schema(value_type = String)]
    host: IpAddr,
    port: u16,
    max_connections: u64,
    heartbeat_interval_secs: u64,
    client_timeout_secs: u64,
    max_frame_size: u64,
}

impl Respond for Realtime {
    /// The server adds `status` and `reason` to these fields.
    fn health(&self, _broker: &BrokerHealth, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Health {
            active_connections: own.active,
            max_connections: own.max_connections,
            uptime_seconds: node.uptime.as_secs(),
        })
    }

    /// The counters are since the start; the connections are those open now.
    fn metrics(&self, _node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Metrics::of(own))
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[Endpoint {
            method: "GET",
            path: "/info",
            guarded: false,
        }]
    }

    fn call(&self, _call: &Call<'_>) -> Plan {
        Plan::Report {
            connections: false,
            then: Box::new(info),
        }
    }

    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        let code = match error.status {
            401 => "INVALID_TOKEN",
            403 => "FORBIDDEN",
            404 => "NOT_FOUND",
            405 => "METHOD_NOT_ALLOWED",
            429 => "RATE_LIMITED",
            503 => "SERVER_FULL",
            500.. => "INTERNAL_ERROR",
            _ => "INVALID_REQUEST",
        };
        api_error::reply(error.status, code, error.message, JsonMap::new())
    }
}

/// The server's version, settings and features.
#[utoipa::path(
    get,
    path = "/info",
    tag = "Server information",
    responses(
        (status = 200, description = "The server's version, settings and features.", body = inline(Info)),
        (status = 408, description = "The body did not arrive in time.", body = ApiError<'static>),
        (status = 413, description = "The body is too large.", body = ApiError<'static>),
        (
            status = 429,
            description = "Too many requests.",
            body = ApiError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request.")),
        ),
        (status = 503, description = "The server is stopping.", body = ApiError<'static>),
    ),
)]
fn info(report: &Report) -> HttpReply {
    let info = Info {
        server: Server {
            name: "WebSocket Real-time Communication Server",
            version: report.node.version,
            config: Config {
                host: report.listener.ip(),
                port: report.listener.port(),
                max_connections: report.own.max_connections,
                heartbeat_interval_secs: report.settings.ping_interval.as_secs(),
                client_timeout_secs: report.settings.ping_timeout.as_secs(),
                max_frame_size: report.settings.max_message_size,
            },
        },
        stats: Metrics::of(&report.own),
        features: &[
            "websocket",
            "heartbeat",
            "topic_subscription",
            "broadcast_messaging",
            "direct_messaging",
            "connection_management",
            "metrics",
        ],
    };
    HttpReply::json(200, &info)
}
