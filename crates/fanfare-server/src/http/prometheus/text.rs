//! Metrics in the Prometheus text format 0.0.4.

use std::fmt::{self, Write};

use super::families::{HistogramValue, Label, MetricFamily, MetricType, MetricValue};

/// Returns `families` as text.
pub(super) fn text(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text
}

fn write_family(text: &mut String, family: &MetricFamily) -> fmt::Result {
    let name = &family.name;
    let kind = match family.kind() {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
    };
    writeln!(text, "# HELP {name} {}", family.help)?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for series in &family.series {
        match &series.value {
            Some(MetricValue::Gauge(number) | MetricValue::Counter(number)) => {
                write!(text, "{name}")?;
                write_labels(text, &series.labels)?;
                writeln!(text, " {}", number.value)?;
            }
            Some(MetricValue::Histogram(histogram)) => write_histogram(text, name, histogram)?,
            None => {}
        }
    }
    Ok(())
}

fn write_labels(text: &mut String, labels: &[Label]) -> fmt::Result {
    let mut before = '{';
    for Label { name, value } in labels {
        let value = value
            .replace('\\', r"\\")
            .replace('"', r#"\""#)
            .replace('\n', r"\n");
        write!(text, r#"{before}{name}="{value}""#)?;
        before = ',';
    }
    if labels.is_empty() {
        Ok(())
    } else {
        text.write_char('}')
    }
}

/// Writes the classic form of a histogram without labels: this format has no native one.
fn write_histogram(text: &mut String, name: &str, histogram: &HistogramValue) -> fmt::Result {
    for bucket in &histogram.buckets {
        writeln!(text, r#"{name}_bucket{{le="{}"}} {}"#, bucket.bound, bucket.upto)?;
    }
    writeln!(text, r#"{name}_bucket{{le="+Inf"}} {}"#, histogram.count)?;
    writeln!(text, "{name}_sum {}", histogram.sum)?;
    writeln!(text, "{name}_count {}", histogram.count)
}
