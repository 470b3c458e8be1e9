//! Histograms of durations in Prometheus' two forms.

use fanfare_core::{Histogram, NativeBuckets};

use super::families::{Bucket, HistogramValue, Span};

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

/// Returns the runs of native buckets, and the difference of each bucket's count to the one before it.
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
