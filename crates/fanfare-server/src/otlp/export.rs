//! Sends finished spans to the collector: a bounded queue and a task. A full queue drops spans; nothing waits for the collector.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use reqwest::Url;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    config::{Otlp, Secret},
    outbound,
};

const BATCH: usize = 512;
/// The time that a span waits for others, to share a request with them.
const GATHER: Duration = Duration::from_millis(500);
/// The time limit for the last spans at the server's end.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The queue of finished spans. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: Arc<SpanCounts>,
}

#[derive(Debug, Default)]
struct SpanCounts {
    exported: AtomicU64,
    /// The queue was full.
    dropped: AtomicU64,
    /// The collector was unavailable, slow, or refused them.
    failed: AtomicU64,
}

impl Queue {
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = &*self.counts;
        vec![
            ("exported", counts.exported.load(Relaxed)),
            ("dropped", counts.dropped.load(Relaxed)),
            ("failed", counts.failed.load(Relaxed)),
        ]
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

pub(crate) struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Sends the waiting spans, within [`LAST_SPANS`].
    pub(crate) async fn finish(mut self) {
        let _ = self.stop.send(()); // fails only if the task has ended
        if tokio::time::timeout(LAST_SPANS, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Starts the task, which sends the spans of `resource` with `exporter`.
pub(super) fn start(settings: &Otlp, mut exporter: SpanExporter, resource: &Resource) -> (Queue, Exporting) {
    exporter.set_resource(resource);
    let (spans, waiting) = mpsc::channel(settings.max_queued_spans);
    let counts = Arc::new(SpanCounts::default());
    let (stop, stopped) = oneshot::channel();
    let sender = Sender {
        exporter,
        timeout: settings.timeout,
        counts: counts.clone(),
        fails: false,
    };
    let task = tokio::spawn(sender.run(waiting, stopped));
    (Queue { spans, counts }, Exporting { stop, task })
}

/// Builds the exporter, without connecting. Returns `None` if `settings` name no collector. An error is the wrong key, and a text.
pub(crate) fn exporter(settings: &Otlp) -> Result<Option<SpanExporter>, (&'static str, String)> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(None);
    };
    let wrong = |text: &str| ("telemetry.otlp.endpoint", text.to_owned());
    let url = Url::parse(endpoint.expose()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut url = url.ok_or_else(|| wrong("expected an http or https URL"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        let text = "found a user, a password or a query; send credentials by telemetry.otlp.headers";
        return Err(wrong(text));
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    let headers = settings.headers.iter().map(header);
    let headers = headers.collect::<Option<HashMap<_, _>>>();
    let headers = headers.ok_or_else(|| {
        let text = "expected texts such as \"Authorization: Bearer …\"";
        ("telemetry.otlp.headers", text.to_owned())
    })?;
    let client = outbound::client()
        // As for the authorizer, no third party may receive the requests.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(settings.timeout)
        .build()
        .map_err(|error| wrong(&error.without_url().to_string()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url.as_str())
        .with_timeout(settings.timeout)
        .with_headers(headers)
        .build();
    exporter.map(Some).map_err(|error| wrong(&error.to_string()))
}

fn header(text: &Secret) -> Option<(String, String)> {
    let (name, value) = text.expose().split_once(':')?;
    let name = http::HeaderName::try_from(name.trim()).ok()?;
    let value = value.trim();
    http::HeaderValue::try_from(value).ok()?;
    Some((name.to_string(), value.to_owned()))
}

struct Sender {
    exporter: SpanExporter,
    timeout: Duration,
    counts: Arc<SpanCounts>,
    fails: bool,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<SpanData>, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = waiting.recv_many(&mut batch, BATCH) => if received == 0 { return },
                // An error means that the server has dropped the sender, which also ends the task.
                _ = &mut stopped => break,
            }
            if batch.len() < BATCH {
                let is_over = tokio::time::timeout(GATHER, &mut stopped).await.is_ok();
                while batch.len() < BATCH
                    && let Ok(span) = waiting.try_recv()
                {
                    batch.push(span);
                }
                if is_over {
                    break;
                }
            }
            self.send(std::mem::take(&mut batch)).await;
        }
        waiting.close();
        while !batch.is_empty() || waiting.recv_many(&mut batch, BATCH).await > 0 {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        // The library may try again, within this time.
        let sent = tokio::time::timeout(self.timeout, self.exporter.export(batch)).await;
        let error = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it did not answer in time".to_owned()),
        };
        if let Some(error) = &error {
            self.counts.failed.fetch_add(count, Relaxed);
            if !self.fails {
                tracing::warn!(
                    error,
                    "the collector does not accept spans; they are dropped until it does"
                );
            }
        } else {
            self.counts.exported.fetch_add(count, Relaxed);
            if self.fails {
                tracing::info!("the collector accepts spans again");
            }
        }
        self.fails = error.is_some();
    }
}
