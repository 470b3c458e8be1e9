//! The HTTP side: `GET /status`, and this protocol's fields on `/health` and `/metrics`. Their types are in `forms`.

use fanfare_core::{
    BrokerHealth, Call, DialectFacts, Endpoint, Figure, FigureValue, HttpError, HttpReply, JsonMap,
    NodeFacts, Plan, Report, Respond, fields, timestamp,
};
use utoipa::OpenApi;

use super::{
    Broadcast,
    errors::{self, BroadcastError, RouteRefusals},
    forms::{
        BroadcastStatus, Configuration, Connection, Counted, Health, Limited, Listed, Metrics,
        NotificationFigures, NotificationService, Running, Server, ServerFigures, ServerInfo, Shutdown,
        uptime,
    },
    notify,
};

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Notifications", description = "On listeners that serve broadcast.")),
    paths(notify::plan, status),
    components(schemas(Health, Metrics, BroadcastError<'static>))
)]
pub(super) struct Api;

const PATH: &str = "/status";

impl Respond for Broadcast {
    fn health(&self, _broker: &BrokerHealth, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Health {
            message: "WebSocket Notification Server is running",
            connections: Limited {
                active: own.active,
                total: own.opened,
                max_allowed: own.max_connections,
            },
            server_info: ServerInfo {
                version: node.version,
                workers: node.shards,
                notification_interval: self.interval_seconds(),
            },
        })
    }

    fn metrics(&self, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        fields(&Metrics {
            connections: Counted {
                active_connections: own.active,
                total_connections: own.opened,
                messages_sent: own.sent,
                uptime_seconds: uptime(node),
            },
            notification_service: NotificationFigures {
                is_running: self.interval_seconds() > 0,
                notification_interval: self.interval_seconds(),
                start_time: timestamp(node.started_at).to_string(),
            },
            server: ServerFigures {
                version: node.version,
                workers: node.shards,
                max_connections: own.max_connections,
                debug_mode: false,
            },
        })
    }

    /// Returns the four metrics that existing dashboards use. They count only this protocol's connections.
    fn figures(&self, node: &NodeFacts, own: &DialectFacts) -> Vec<Figure> {
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

    fn endpoints(&self) -> &'static [Endpoint] {
        &[
            Endpoint {
                method: "POST",
                path: notify::PATH,
                guarded: true,
            },
            Endpoint {
                method: "GET",
                path: PATH,
                guarded: true,
            },
        ]
    }

    fn call(&self, call: &Call<'_>) -> Plan {
        let interval = self.interval_seconds();
        match call.path {
            notify::PATH => notify::plan(call),
            PATH => Plan::Report {
                connections: true,
                then: Box::new(move |report| status(report, interval)),
            },
            _ => Plan::Reply(self.fail(&call.error(404, "Not found"))),
        }
    }

    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        errors::reply(error)
    }
}

fn notifications(own: &DialectFacts) -> u64 {
    own.sent.saturating_sub(own.answers)
}

/// Returns the full report of this dialect on this node.
#[utoipa::path(
    get,
    path = "/status",
    tag = "Notifications",
    responses(
        (status = 200, description = "The report.", body = BroadcastStatus<'static>),
        (status = 403, description = "The API key does not have the scope read.", body = BroadcastError<'static>),
        RouteRefusals,
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(super) fn status(report: &Report, interval_seconds: u64) -> HttpReply {
    let (node, own) = (&report.node, &report.own);
    let body = BroadcastStatus {
        server: Server {
            status: if report.draining {
                Running::ShuttingDown
            } else {
                Running::Running
            },
            version: node.version,
            uptime_seconds: uptime(node),
            start_time: timestamp(node.started_at).to_string(),
            current_time: timestamp(node.now).to_string(),
        },
        connections: Listed {
            active: own.active,
            total: own.opened,
            max_allowed: own.max_connections,
            details: report.connections.iter().map(Connection::of).collect(),
        },
        notification_service: NotificationService {
            is_running: interval_seconds > 0,
            notifications_sent: notifications(own),
            notification_interval: interval_seconds,
        },
        shutdown: Shutdown {
            shutdown_requested: report.draining,
            shutdown_timeout: report.shutdown_timeout.as_secs(),
        },
        configuration: Configuration {
            host: report.listener.ip().to_string(),
            port: report.listener.port(),
            workers: node.shards,
            debug: false,
            log_level: report.log_level.to_ascii_uppercase(),
        },
    };
    HttpReply::json(200, &body)
}
