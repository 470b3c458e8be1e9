//! `/health` for people and for monitors of the protocols' original servers; `/readyz` and `/livez` for orchestrators.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fanfare_core::{BrokerHealth, Inbound, fields, timestamp};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::{OpenApi, ToSchema};

use super::{
    Site,
    forms::Always,
    merge::merged,
    reply::{self, Reply},
};

/// The probes' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Probes and figures", description = "For monitors and orchestrators; on every listener.")),
    paths(livez, readyz, health)
)]
pub(super) struct HealthApi;

/// The server's own fields.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(inline)]
    status: Condition,
    /// The reason; only if it is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    #[schema(format = DateTime)]
    timestamp: String,
    uptime_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Condition {
    Healthy,
    Degraded,
    Unhealthy,
}

/// The node is ready.
#[derive(Serialize, ToSchema)]
struct ReadyReply {
    #[schema(inline)]
    ready: Always<true>,
    /// The duration of a probe through the broker and every shard; only through the shards while the broker is unavailable.
    round_trip_ms: f64,
    /// True if the broker is unavailable, for less than `server.broker_grace`; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// The node is not ready.
#[derive(Serialize, ToSchema)]
struct NotReadyReply<'a> {
    #[schema(inline)]
    ready: Always<false>,
    reason: &'a str,
}

/// Returns the reply to `OPTIONS /`: that of [`readyz`], without a body.
pub(super) async fn options(site: &Arc<Site>) -> Reply {
    let answer = readyz(site).await;
    if !answer.status().is_success() {
        return answer;
    }
    reply::with(
        reply::no_content(),
        header::ALLOW,
        "GET, HEAD, POST, DELETE, OPTIONS",
    )
}

/// The server's state, with a few figures.
//
// The union of all dialects' documents, so that each dialect's monitors find their fields.
#[utoipa::path(
    get,
    path = "/health",
    tag = "Probes and figures",
    responses(
        (status = 200, description = "Healthy.", body = Health),
        (
            status = 503,
            description = "Degraded: the broker is unavailable. Unhealthy: the listener is full, or the server is stopping.",
            body = Health,
        ),
    ),
)]
pub(super) async fn health(site: &Arc<Site>) -> Reply {
    let node = &site.node;
    let broker = node.broker().health().await;
    let facts = node.facts();
    let documents = node.dialects.iter().map(|mounted| {
        let own = node.dialect_facts(mounted);
        mounted.dialect.health(&broker, &facts, &own).into()
    });
    let (status, condition, reason) = judge(node.is_draining(), site.is_full(), &broker);
    let own = Health {
        status: condition,
        reason,
        timestamp: timestamp(facts.now).to_string(),
        uptime_seconds: facts.uptime.as_secs(),
    };
    reply::json(status, &merged(documents.chain([fields(&own).into()])))
}

/// Returns whether this node is ready for clients.
//
// It is if it does not drain, and a probe has passed the broker and every shard.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Probes and figures",
    responses(
        (
            status = 200,
            description = "A probe has returned through the broker and every shard, or the broker has been unavailable for less than `server.broker_grace`.",
            body = inline(ReadyReply),
            example = json!({ "ready": true, "round_trip_ms": 0.2 }),
        ),
        (status = 503, description = "The node is not ready for clients.", body = inline(NotReadyReply<'static>)),
    ),
)]
pub(super) async fn readyz(site: &Arc<Site>) -> Reply {
    let unready = |reason: &str| {
        let ready = Always;
        reply::json(StatusCode::SERVICE_UNAVAILABLE, &NotReadyReply { ready, reason })
    };
    if site.node.is_draining() {
        return unready("Server shutting down");
    }
    if !site.gate.has_keys() {
        return unready("the keys to verify tokens with could not be fetched yet");
    }
    let readiness = &site.options.readiness;
    let ready = |took: Duration, degraded| {
        let ready = ReadyReply {
            ready: Always,
            round_trip_ms: (took.as_secs_f64() * 100_000.0).round() / 100.0,
            degraded,
        };
        reply::ok(&ready)
    };
    let limit = readiness.probe_timeout(Instant::now());
    let reason = match timeout(limit, site.node.broker().probe()).await {
        Ok(Ok(took)) => {
            readiness.broker_answered();
            return ready(took, None);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => PROBE_TIMED_OUT.to_owned(),
    };
    if !readiness.is_ready_without_broker(Instant::now()) {
        return unready(&reason);
    }
    let began = Instant::now();
    let limit = readiness.probe_timeout(began);
    match timeout(limit, Inbound::probe(&*site.node)).await {
        Ok(Ok(())) => ready(began.elapsed(), Some(Always)),
        Ok(Err(error)) => unready(&error.to_string()),
        Err(_) => unready(PROBE_TIMED_OUT),
    }
}

const PROBE_TIMED_OUT: &str = "the probe did not return in time";

/// Returns a reply while the process runs.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "Probes and figures",
    responses((status = 200, description = "The process runs.", body = String, content_type = "text/plain", example = "ok\n")),
)]
pub(super) fn livez() -> Reply {
    reply::text(StatusCode::OK, "text/plain", "ok\n")
}

impl Site {
    /// Returns whether every dialect of this listener has its maximum of connections, not counting the streams that every listener
    /// serves.
    fn is_full(&self) -> bool {
        let full = |facts: fanfare_core::DialectFacts| facts.active >= facts.max_connections;
        let own = self.dialects.iter().filter(|mounted| !mounted.dialect.streams());
        let mut own = own.map(|mounted| self.node.dialect_facts(mounted)).peekable();
        own.peek().is_some() && own.all(full)
    }
}

fn judge(draining: bool, full: bool, broker: &BrokerHealth) -> (StatusCode, Condition, Option<&'static str>) {
    let away = StatusCode::SERVICE_UNAVAILABLE;
    match broker {
        _ if draining => (away, Condition::Unhealthy, Some("Server shutting down")),
        _ if full => (away, Condition::Unhealthy, Some("At capacity")),
        BrokerHealth::Disconnected { .. } => (away, Condition::Degraded, None),
        BrokerHealth::Embedded | BrokerHealth::Connected { .. } => (StatusCode::OK, Condition::Healthy, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_outranks_a_full_listener_and_both_outrank_the_broker() {
        let gone = BrokerHealth::Disconnected {
            error: "connection refused".into(),
        };
        let here = BrokerHealth::Connected {
            round_trip: Duration::from_millis(1),
        };
        let cases = [
            (false, false, &here, (200, Condition::Healthy, None)),
            (
                false,
                false,
                &BrokerHealth::Embedded,
                (200, Condition::Healthy, None),
            ),
            (false, false, &gone, (503, Condition::Degraded, None)),
            (
                false,
                true,
                &gone,
                (503, Condition::Unhealthy, Some("At capacity")),
            ),
            (
                true,
                true,
                &here,
                (503, Condition::Unhealthy, Some("Server shutting down")),
            ),
        ];
        for (draining, full, broker, (status, word, reason)) in cases {
            let judged = judge(draining, full, broker);
            assert_eq!((judged.0.as_u16(), judged.1, judged.2), (status, word, reason));
        }
    }
}
