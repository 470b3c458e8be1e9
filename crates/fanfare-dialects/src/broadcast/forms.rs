//! The types of this protocol's HTTP bodies, which are its part of the `OpenAPI` document.

use fanfare_core::{ConnectionFacts, NodeFacts, timestamp};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    pub(super) message: &'static str,
    #[schema(inline)]
    pub(super) connections: Limited,
    #[schema(inline)]
    pub(super) server_info: ServerInfo,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Limited {
    pub(super) active: u64,
    pub(super) total: u64,
    pub(super) max_allowed: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServerInfo {
    pub(super) version: &'static str,
    pub(super) workers: usize,
    pub(super) notification_interval: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Metrics {
    #[schema(inline)]
    pub(super) connections: Counted,
    #[schema(inline)]
    pub(super) notification_service: NotificationFigures,
    #[schema(inline)]
    pub(super) server: ServerFigures,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Counted {
    pub(super) active_connections: u64,
    pub(super) total_connections: u64,
    pub(super) messages_sent: u64,
    pub(super) uptime_seconds: f64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotificationFigures {
    pub(super) is_running: bool,
    pub(super) notification_interval: u64,
    #[schema(format = DateTime)]
    pub(super) start_time: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServerFigures {
    pub(super) version: &'static str,
    pub(super) workers: usize,
    pub(super) max_connections: u64,
    pub(super) debug_mode: bool,
}

/// The report.
#[derive(Serialize, ToSchema)]
pub(super) struct BroadcastStatus<'a> {
    #[schema(inline)]
    pub(super) server: Server,
    #[schema(inline)]
    pub(super) connections: Listed<'a>,
    #[schema(inline)]
    pub(super) notification_service: NotificationService,
    #[schema(inline)]
    pub(super) shutdown: Shutdown,
    #[schema(inline)]
    pub(super) configuration: Configuration,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Server {
    #[schema(inline)]
    pub(super) status: Running,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: f64,
    #[schema(format = DateTime)]
    pub(super) start_time: String,
    #[schema(format = DateTime)]
    pub(super) current_time: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Running {
    Running,
    ShuttingDown,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Listed<'a> {
    pub(super) active: u64,
    pub(super) total: u64,
    pub(super) max_allowed: u64,
    #[schema(inline)]
    pub(super) details: Vec<Connection<'a>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Connection<'a> {
    #[schema(required)]
    client_id: Option<&'a str>,
    #[schema(format = DateTime)]
    connected_at: String,
    #[schema(required, format = DateTime)]
    last_ping: Option<String>,
    #[schema(required)]
    user_agent: Option<&'a str>,
}

impl<'a> Connection<'a> {
    pub(super) fn of(facts: &'a ConnectionFacts) -> Self {
        Self {
            client_id: facts.name.as_deref(),
            connected_at: timestamp(facts.opened_at).to_string(),
            last_ping: facts.pinged_at.map(|at| timestamp(at).to_string()),
            user_agent: facts.user_agent.as_deref(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotificationService {
    pub(super) is_running: bool,
    pub(super) notifications_sent: u64,
    pub(super) notification_interval: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Shutdown {
    pub(super) shutdown_requested: bool,
    pub(super) shutdown_timeout: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Configuration {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) workers: usize,
    pub(super) debug: bool,
    pub(super) log_level: String,
}

pub(super) fn uptime(node: &NodeFacts) -> f64 {
    (node.uptime.as_secs_f64() * 10.0).round() / 10.0
}
