//! `/metrics`: JSON for the readers of the protocols' documents, Prometheus text for those that ask for it.

use std::sync::Arc;

use fanfare_core::{BrokerHealth, JsonMap, timestamp};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::{
    Site, health, prometheus as text,
    reply::{self, Reply},
};

/// JSON, or text where `Accept` asks for it as a Prometheus scrape does.
pub(super) fn metrics(site: &Arc<Site>, headers: &HeaderMap) -> Reply {
    if wants_text(headers) {
        return prometheus(site);
    }
    let node = &site.node;
    // No figure here tells how the broker is, so it is not asked.
    let broker = BrokerHealth::Embedded;
    let facts = node.facts(&broker);
    let mut body = JsonMap::new();
    body.insert("timestamp".into(), timestamp(facts.now).to_string().into());
    body.insert("uptime_seconds".into(), facts.uptime.as_secs().into());
    for mounted in &node.dialects {
        health::merge(
            &mut body,
            mounted.dialect.metrics(&facts, &node.dialect_facts(mounted)),
        );
    }
    reply::json(StatusCode::OK, &Value::Object(body))
}

/// Prometheus text format 0.0.4.
pub(super) fn prometheus(site: &Arc<Site>) -> Reply {
    match text::render(&site.node) {
        Ok(body) => reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "cannot render metrics")
        }
    }
}

/// Whether the client names a text format before JSON. `*/*` is anybody's, so it gets JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .filter_map(|media| media.split(';').next())
        .map(str::trim)
        .find_map(|media| match media {
            "text/plain" | "application/openmetrics-text" => Some(true),
            "application/json" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_gets_text() {
        let scrape = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, text) in [
            (Some(scrape), true),
            (Some("text/plain"), true),
            (Some("application/json"), false),
            (Some("application/json, text/plain, */*"), false),
            (Some("*/*"), false),
            (Some("text/html,application/xhtml+xml"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(wants_text(&headers), text, "{accept:?}");
        }
    }
}
