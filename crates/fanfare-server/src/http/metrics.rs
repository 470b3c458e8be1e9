//! `/metrics`: JSON for readers of the protocols' documents, Prometheus text on request.

use std::sync::Arc;

use fanfare_core::{JsonMap, fields, timestamp};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    Site,
    forms::PlainError,
    health, prometheus as text,
    reply::{self, Reply},
};

/// The metrics' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(metrics, prometheus))]
pub(super) struct MetricsApi;

/// The fields that all dialects' documents promise.
#[derive(Serialize, ToSchema)]
struct Metrics {
    #[schema(format = DateTime)]
    timestamp: String,
    uptime_seconds: u64,
}

/// Figures as JSON, or as Prometheus text.
//
// JSON, or text if `Accept` asks for it as a Prometheus scrape does.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Probes and figures",
    responses(
        (
            status = 200,
            description = "Text where Accept asks for it.",
            content((Metrics = "application/json"), (String = "text/plain")),
        ),
        (status = 401, description = "`api.metrics` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.metrics` is `off`.", body = PlainError<'static>),
        (status = 500, description = "The figures could not be written.", body = PlainError<'static>),
    ),
)]
pub(super) fn metrics(site: &Arc<Site>, headers: &HeaderMap) -> Reply {
    if wants_text(headers) {
        return prometheus(site);
    }
    let node = &site.node;
    let facts = node.facts();
    let mut body = JsonMap::new();
    for mounted in &node.dialects {
        health::merge(
            &mut body,
            mounted.dialect.metrics(&facts, &node.dialect_facts(mounted)),
        );
    }
    let own = Metrics {
        timestamp: timestamp(facts.now).to_string(),
        uptime_seconds: facts.uptime.as_secs(),
    };
    health::merge(&mut body, fields(&own));
    reply::json(StatusCode::OK, &body)
}

/// Figures in the Prometheus text format 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics/prometheus",
    tag = "Probes and figures",
    responses(
        (status = 200, description = "Always text.", body = String, content_type = "text/plain"),
        (status = 401, description = "`api.metrics` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.metrics` is `off`.", body = PlainError<'static>),
        (status = 500, description = "The figures could not be written.", body = PlainError<'static>),
    ),
)]
pub(super) fn prometheus(site: &Arc<Site>) -> Reply {
    match text::render(
        &site.node,
        &site.gate,
        &site.options.accounts,
        &site.options.upkeep,
    ) {
        Ok(body) => reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "cannot render metrics")
        }
    }
}

/// Returns whether the client names a text format before JSON. `*/*` gets JSON.
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
