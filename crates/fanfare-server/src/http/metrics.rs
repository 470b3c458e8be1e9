//! `/metrics`: JSON for monitors of the protocols' original servers, Prometheus' formats on request.

use std::sync::Arc;

use fanfare_core::{fields, timestamp};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    Site,
    forms::PlainError,
    headers::all_of,
    merge::merged,
    prometheus::{Format, render},
    reply::{self, Reply},
};

/// The parameters of `Format::Protobuf`: the media type has other forms, too.
const PROTOBUF: [&str; 2] = ["proto=io.prometheus.client.MetricFamily", "encoding=delimited"];

/// The metrics' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(metrics, prometheus))]
pub(super) struct MetricsApi;

/// The server's own fields.
#[derive(Serialize, ToSchema)]
struct Metrics {
    #[schema(format = DateTime)]
    timestamp: String,
    uptime_seconds: u64,
}

/// Figures as JSON, or in a format of Prometheus if `Accept` names one as a scrape does.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Probes and figures",
    responses(
        (
            status = 200,
            description = "Text or protobuf where Accept asks for it.",
            content(
                (Metrics = "application/json"),
                (String = "text/plain"),
                (String = "application/vnd.google.protobuf"),
            ),
        ),
        (status = 401, description = "`api.metrics` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.metrics` is `off`.", body = PlainError<'static>),
    ),
)]
pub(super) fn metrics(site: &Arc<Site>, headers: &HeaderMap) -> Reply {
    if let Some(format) = wanted_format(headers) {
        return rendered(site, format);
    }
    let node = &site.node;
    let facts = node.facts();
    let documents = node.dialects.iter();
    let documents = documents.map(|mounted| {
        mounted
            .dialect
            .metrics(&facts, &node.dialect_facts(mounted))
            .into()
    });
    let own = Metrics {
        timestamp: timestamp(facts.now).to_string(),
        uptime_seconds: facts.uptime.as_secs(),
    };
    reply::ok(&merged(documents.chain([fields(&own).into()])))
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
    ),
)]
pub(super) fn prometheus(site: &Arc<Site>) -> Reply {
    rendered(site, Format::Text)
}

fn rendered(site: &Arc<Site>, format: Format) -> Reply {
    let (accounts, upkeep) = (&site.options.accounts, &site.options.upkeep);
    let body = render(format, &site.node, &site.gate, accounts, upkeep);
    reply::text(StatusCode::OK, format.media_type(), body)
}

/// Returns the Prometheus format that `Accept` names before JSON, if any. `*/*` means JSON.
fn wanted_format(headers: &HeaderMap) -> Option<Format> {
    let mut ranges = all_of(headers, header::ACCEPT).flat_map(|value| value.split(','));
    let wanted = ranges.find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        match parts.next()? {
            "text/plain" | "application/openmetrics-text" => Some(Some(Format::Text)),
            "application/vnd.google.protobuf" => {
                let parameters: Vec<_> = parts.collect();
                let is_ours = PROTOBUF.iter().all(|each| parameters.contains(each));
                is_ours.then_some(Some(Format::Protobuf))
            }
            "application/json" => Some(None),
            _ => None,
        }
    });
    wanted.flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_format_in_accept_wins() {
        let text = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, format) in [
            (text.to_owned(), Some(Format::Text)),
            ("text/plain".to_owned(), Some(Format::Text)),
            (format!("{protobuf},{text}"), Some(Format::Protobuf)),
            (protobuf.replace(';', " ; "), Some(Format::Protobuf)),
            (format!("text/plain,{protobuf}"), Some(Format::Text)),
            (protobuf.replace("delimited", "text"), None),
            (
                format!("application/vnd.google.protobuf,{text}"),
                Some(Format::Text),
            ),
            ("application/json".to_owned(), None),
            ("application/json, text/plain, */*".to_owned(), None),
            ("*/*".to_owned(), None),
            ("text/html,application/xhtml+xml".to_owned(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::try_from(&accept).expect("a header"));
            assert_eq!(wanted_format(&headers), format, "{accept}");
        }
        assert_eq!(wanted_format(&HeaderMap::new()), None);
    }
}
