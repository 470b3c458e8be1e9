//! Metrics as messages of `io.prometheus.client`, the protobuf format of Prometheus. The text format is made from the same messages.

use fanfare_core::{Histogram, NativeBuckets};
use prost::{Enumeration, Message, Oneof};

/// A metric with all its series.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub(super) kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) series: Vec<Series>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

/// The value for one set of labels.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Series {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(oneof = "MetricValue", tags = "2, 3, 7")]
    pub(super) value: Option<MetricValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum MetricValue {
    #[prost(message, tag = "2")]
    Gauge(Number),
    #[prost(message, tag = "3")]
    Counter(Number),
    #[prost(message, tag = "7")]
    Histogram(HistogramValue),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Number {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

/// A histogram in both forms, the classic one and the native one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramValue {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) buckets: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    /// The runs of native buckets; `deltas` has each bucket's count less the count before it.
    #[prost(message, repeated, tag = "12")]
    pub(super) spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) deltas: Vec<i64>,
}

/// A classic bucket.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(super) upto: u64,
    #[prost(double, tag = "2")]
    pub(super) bound: f64,
}

/// A run of native buckets without a gap.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Span {
    /// The number of buckets between the last span and this one; for the first span, the index of its first bucket.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

impl MetricValue {
    fn kind(&self) -> MetricType {
        match self {
            Self::Gauge(_) => MetricType::Gauge,
            Self::Counter(_) => MetricType::Counter,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

impl From<u64> for Number {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn from(value: u64) -> Self {
        Self { value: value as f64 }
    }
}

/// Returns the value of a gauge.
pub(super) fn gauge(value: u64) -> MetricValue {
    MetricValue::Gauge(value.into())
}

/// Returns the value of a counter.
pub(super) fn counter(value: u64) -> MetricValue {
    MetricValue::Counter(value.into())
}

/// All metrics of a scrape.
#[derive(Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

impl Families {
    /// Adds a metric, unless it has no series.
    pub(super) fn add<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], MetricValue)>,
    ) {
        let series = values.into_iter().map(|(of, value)| Series {
            labels: labels.iter().zip(of).map(Label::new).collect(),
            value: Some(value),
        });
        let series: Vec<_> = series.collect();
        let Some(value) = series.first().and_then(|series| series.value.as_ref()) else {
            return;
        };
        self.0.push(MetricFamily {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: value.kind().into(),
            series,
        });
    }
}

impl Label {
    fn new((name, value): (&&str, &str)) -> Self {
        Self {
            name: (*name).to_owned(),
            value: value.to_owned(),
        }
    }
}

impl From<&Histogram> for HistogramValue {
    fn from(histogram: &Histogram) -> Self {
        let snapshot = histogram.snapshot();
        let buckets = snapshot.buckets().into_iter();
        let native = snapshot.native();
        let (spans, deltas) = runs(&native);
        Self {
            count: snapshot.count(),
            sum: snapshot.sum().as_secs_f64(),
            buckets: buckets.map(|(bound, upto)| Bucket { upto, bound }).collect(),
            schema: native.schema,
            zero_threshold: native.zero_threshold,
            zero_count: native.zero_count,
            spans,
            deltas,
        }
    }
}

/// Returns the runs of native buckets, and each bucket's count less the count before it.
fn runs(native: &NativeBuckets) -> (Vec<Span>, Vec<i64>) {
    let mut spans: Vec<Span> = Vec::new();
    let (mut next, mut before) = (0, 0);
    let deltas = native.counts.iter().map(|&(index, count)| {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index - next,
                length: 1,
            }),
        }
        next = index + 1;
        let count = count.cast_signed();
        count - std::mem::replace(&mut before, count)
    });
    let deltas = deltas.collect();
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_gap_between_buckets_begins_a_run() {
        let histogram = Histogram::default();
        for nanos in [
            1,
            500_000_000,
            1_000_000_000,
            1_000_000_000,
            1_000_000_000,
            1_050_000_000,
        ] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let value = HistogramValue::from(&histogram);
        // 0.5 s is the bound of bucket -8; the next span's begins seven buckets behind it.
        let spans = [(-8, 1), (7, 2)].map(|(offset, length)| Span { offset, length });
        assert_eq!((value.spans, value.deltas), (spans.to_vec(), vec![1, 2, -2]));
        assert_eq!((value.zero_count, value.count), (1, 6));
    }
}
