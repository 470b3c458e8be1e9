//! Histograms of durations as Prometheus metrics.

use fanfare_core::Histogram;
use prometheus::{
    Error, Opts,
    core::{Collector, Desc, Describer},
    proto::{Bucket, Histogram as Counted, Metric, MetricFamily, MetricType},
};

/// What a histogram had counted at one moment.
pub(super) struct Durations {
    desc: Desc,
    family: MetricFamily,
}

impl Durations {
    pub(super) fn new(name: &str, help: &str, histogram: &Histogram) -> Result<Self, Error> {
        let desc = Opts::new(name, help).describe()?;
        let buckets = histogram.buckets();
        let mut counted = Counted::default();
        counted.set_sample_sum(histogram.sum().as_secs_f64());
        counted.set_sample_count(histogram.count());
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        counted.set_bucket(buckets.into_iter().map(bucket).collect());
        let mut metric = Metric::default();
        metric.set_histogram(counted);
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        Ok(Self { desc, family })
    }
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![self.family.clone()]
    }
}
