//! Spans of publications and deliveries for an OpenTelemetry collector. They are not `tracing`'s spans, which follow the code: an
//! event passes through several threads, batches and nodes.

mod export;

use std::{borrow::Cow, collections::HashMap, time::SystemTime};

use fanfare_core::{Audience, Event, RawJson, RawObject, Reach, Receipt, policy::AccessControl, string};
use fanfare_engine::{EndSpan, SpanRecorder};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, TraceContextExt, TraceFlags, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span},
};
use rand::Rng;
use uuid::Uuid;

use crate::config::Otlp;

use export::Queue;
pub(crate) use export::{Exporting, exporter};

/// The HTTP header of a trace, and the field of metadata in which clients and Redis publishers send it.
pub(crate) const TRACEPARENT: &str = "traceparent";

pub(crate) struct Recorder {
    tracer: SdkTracer,
    queue: Queue,
    traces_per_thousand: u32,
}

/// Starts the export of the spans of `node`, on the caller's runtime.
pub(crate) fn start(settings: &Otlp, exporter: SpanExporter, node: Uuid) -> (Recorder, Exporting) {
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", node.to_string()))
        .build();
    let (queue, exporting) = export::start(settings, exporter, &resource);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        // An event that is not sampled has no span.
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(queue.clone())
        .build();
    let recorder = Recorder {
        tracer: provider.tracer("fanfare"),
        queue,
        traces_per_thousand: settings.traces_per_thousand,
    };
    (recorder, exporting)
}

impl Recorder {
    /// Begins a span of `event` as a child of its `traceparent`, or of none; `None` if the trace is not sampled.
    fn begin(&self, event: &Event, access: &AccessControl, of: &Operation) -> Option<Span> {
        let parent = event.traceparent.as_deref().and_then(parse_traceparent);
        let is_sampled = parent.as_ref().map_or_else(
            || of.may_begin_a_trace && rand::rng().random_range(0..1000) < self.traces_per_thousand,
            SpanContext::is_sampled,
        );
        if !is_sampled {
            return None;
        }
        let (audience, template) = destination(&event.audience, access);
        let name = format!("{} {}", of.name, template.as_deref().unwrap_or(audience));
        let bytes = event.data.bytes().len() as u64;
        let mut attributes = vec![
            KeyValue::new("messaging.system", "fanfare"),
            KeyValue::new("messaging.operation.name", of.name),
            KeyValue::new("messaging.operation.type", of.kind),
            KeyValue::new("messaging.message.id", event.id.to_string()),
            KeyValue::new("messaging.message.body.size", count(bytes)),
            KeyValue::new("fanfare.audience", audience),
        ];
        attributes.extend(template.map(|name| KeyValue::new("messaging.destination.template", name)));
        let builder = SpanBuilder::from_name(name)
            .with_kind(of.span_kind.clone())
            .with_attributes(attributes)
            .with_start_time(SystemTime::now());
        let context = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        Some(self.tracer.build_with_context(builder, &context))
    }
}

/// One of the two operations with spans, named by the semantic conventions for messaging.
struct Operation {
    name: &'static str,
    kind: &'static str,
    span_kind: SpanKind,
    may_begin_a_trace: bool,
}

const PUBLISH: Operation = Operation {
    name: "publish",
    kind: "send",
    span_kind: SpanKind::Producer,
    may_begin_a_trace: true,
};
const DELIVER: Operation = Operation {
    name: "deliver",
    kind: "process",
    span_kind: SpanKind::Consumer,
    may_begin_a_trace: false,
};

impl SpanRecorder for Recorder {
    fn publish(&self, event: &mut Event, access: &AccessControl) -> Option<EndSpan<Receipt>> {
        if event.traceparent.is_none() {
            event.traceparent = event.metadata.as_ref().and_then(traceparent_in);
        }
        let mut span = self.begin(event, access, &PUBLISH)?;
        event.traceparent = Some(traceparent_of(span.span_context()));
        Some(Box::new(move |receipt: Receipt| {
            set_reach(&mut span, receipt.reach);
            span.set_attribute(KeyValue::new("fanfare.nodes", i64::from(receipt.nodes)));
            span.set_attribute(KeyValue::new("fanfare.degraded", receipt.degraded));
            span.set_attribute(KeyValue::new("fanfare.duplicate", receipt.is_duplicate));
            span.end();
        }))
    }

    fn deliver(&self, event: &Event, access: &AccessControl) -> Option<EndSpan<Reach>> {
        event.traceparent.as_ref()?;
        let mut span = self.begin(event, access, &DELIVER)?;
        Some(Box::new(move |reach| {
            set_reach(&mut span, reach);
            span.end();
        }))
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.queue.counts()
    }
}

fn set_reach(span: &mut Span, reach: Reach) {
    span.set_attribute(KeyValue::new("fanfare.matched", count(reach.matched)));
    span.set_attribute(KeyValue::new("fanfare.queued", count(reach.queued)));
    span.set_attribute(KeyValue::new("fanfare.dropped", count(reach.dropped)));
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns the kind of `audience`, and its template: names of users and channels are never in a trace.
fn destination(audience: &Audience, access: &AccessControl) -> (&'static str, Option<Cow<'static, str>>) {
    match audience {
        Audience::Everyone => ("everyone", None),
        Audience::User(_) => ("user", Some("notifications.user.{user}".into())),
        Audience::Channel(channel) => ("channel", access.pattern_of(channel).map(Cow::Owned)),
    }
}

fn traceparent_in(metadata: &RawJson) -> Option<Box<str>> {
    let text = metadata.as_str();
    if !text.contains(TRACEPARENT) {
        return None;
    }
    let fields = RawObject::parse(text).ok()?;
    Event::traceparent_of(&string(fields.get(TRACEPARENT)?)?)
}

fn parse_traceparent(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
}

fn traceparent_of(context: &SpanContext) -> Box<str> {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_parsed_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(&*traceparent_of(&parse_traceparent(text).unwrap()), text);
        assert!(
            !parse_traceparent(&text.replace("-01", "-00"))
                .unwrap()
                .is_sampled()
        );
        for bad in [
            "",
            "x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &text[..52],
        ] {
            assert!(parse_traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_traceparent_may_be_in_metadata() {
        let of = |text: &str| traceparent_in(&RawJson::parse(&text.as_bytes().to_vec().into()).unwrap());
        assert_eq!(of(r#"{"traceparent": "00-a"}"#).as_deref(), Some("00-a"));
        for none in [r#"{"traceparent": 1}"#, r#"{"a": "traceparent"}"#, "{}"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of(&format!(r#"{{"traceparent": "{}"}}"#, "a".repeat(56))), None);
    }
}
