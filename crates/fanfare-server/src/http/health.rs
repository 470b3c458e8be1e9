//! `/health` for people and monitors that know the protocols' documents, `/readyz` for orchestrators.

use std::{sync::Arc, time::Duration};

use fanfare_core::{BrokerHealth, JsonMap, timestamp};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Site,
    reply::{self, Reply},
};

/// How long a readiness probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The union of what all dialects' documents promise, so that each one's reader finds its fields.
pub(super) async fn health(site: &Arc<Site>) -> Reply {
    let node = &site.node;
    let broker = node.broker_health().await;
    let facts = node.facts(&broker);
    let mut body = JsonMap::new();
    body.insert("timestamp".into(), timestamp(facts.now).to_string().into());
    body.insert("uptime_seconds".into(), facts.uptime.as_secs().into());
    for mounted in &node.dialects {
        merge(
            &mut body,
            mounted.dialect.health(&facts, &node.dialect_facts(mounted)),
        );
    }
    let (status, word, reason) = judge(node.is_draining(), site.is_full(), &broker);
    body.insert("status".into(), word.into());
    if let Some(reason) = reason {
        body.insert("reason".into(), reason.into());
    }
    reply::json(status, &Value::Object(body))
}

/// Whether this node should be sent clients: it does not drain, and a probe comes back through the broker and every
/// shard.
pub(super) async fn readyz(site: &Arc<Site>) -> Reply {
    let unready = |reason: &str| {
        reply::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": reason}),
        )
    };
    if site.node.is_draining() {
        return unready("Server shutting down");
    }
    match tokio::time::timeout(PROBE_TIMEOUT, site.node.probe()).await {
        Ok(Ok(took)) => {
            let round_trip_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0;
            reply::json(
                StatusCode::OK,
                &json!({ "ready": true, "round_trip_ms": round_trip_ms }),
            )
        }
        Ok(Err(error)) => unready(&error.to_string()),
        Err(_) => unready("the probe did not come back in time"),
    }
}

impl Site {
    /// Whether every dialect of this listener holds as many connections as it may.
    fn is_full(&self) -> bool {
        let full = |facts: fanfare_core::DialectFacts| facts.active >= facts.max_connections;
        !self.dialects.is_empty()
            && self
                .dialects
                .iter()
                .all(|mounted| full(self.node.dialect_facts(mounted)))
    }
}

fn judge(
    draining: bool,
    full: bool,
    broker: &BrokerHealth,
) -> (StatusCode, &'static str, Option<&'static str>) {
    let away = StatusCode::SERVICE_UNAVAILABLE;
    match broker {
        _ if draining => (away, "unhealthy", Some("Server shutting down")),
        _ if full => (away, "unhealthy", Some("At capacity")),
        BrokerHealth::Disconnected { .. } => (away, "degraded", None),
        BrokerHealth::Embedded | BrokerHealth::Connected { .. } => (StatusCode::OK, "healthy", None),
    }
}

/// Puts `more` into `into`; objects that both have become one.
pub(super) fn merge(into: &mut JsonMap, more: JsonMap) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(more)) => merge(there, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_news_is_told() {
        let gone = BrokerHealth::Disconnected {
            error: "connection refused".into(),
        };
        let here = BrokerHealth::Connected {
            round_trip: Duration::from_millis(1),
        };
        let cases = [
            (false, false, &here, (200, "healthy", None)),
            (false, false, &BrokerHealth::Embedded, (200, "healthy", None)),
            (false, false, &gone, (503, "degraded", None)),
            (false, true, &gone, (503, "unhealthy", Some("At capacity"))),
            (
                true,
                true,
                &here,
                (503, "unhealthy", Some("Server shutting down")),
            ),
        ];
        for (draining, full, broker, (status, word, reason)) in cases {
            let judged = judge(draining, full, broker);
            assert_eq!((judged.0.as_u16(), judged.1, judged.2), (status, word, reason));
        }
    }

    #[test]
    fn objects_merge_deeply() {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut into = object(json!({"a": 1, "c": {"x": 1, "d": {"e": 1}}}));
        merge(&mut into, object(json!({"b": 2, "c": {"y": 2, "d": {"f": 2}}})));
        assert_eq!(
            Value::Object(into),
            json!({"a": 1, "b": 2, "c": {"x": 1, "y": 2, "d": {"e": 1, "f": 2}}})
        );
    }
}
