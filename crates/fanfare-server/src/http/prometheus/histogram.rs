//! The engine's histogram as a Prometheus metric.

use fanfare_engine::Histogram;
use prometheus::{
    Error, Opts,
    core::{Collector, Desc, Describer},
    proto::{Bucket, Histogram as Counted, Metric, MetricFamily, MetricType},
};

/// How long deliveries took, at one moment.
pub(super) struct DeliveryHistogram {
    desc: Desc,
    family: MetricFamily,
}

impl DeliveryHistogram {
    pub(super) fn new(histogram: &Histogram) -> Result<Self, Error> {
        let help = "From an event's arrival at this node until every matching connection had it, written or queued; \
                    once for each batch of events";
        let desc = Opts::new("fanfare_delivery_seconds", help).describe()?;
        let mut counted = Counted::default();
        counted.set_sample_sum(histogram.sum().as_secs_f64());
        counted.set_sample_count(histogram.count());
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        counted.set_bucket(histogram.buckets().into_iter().map(bucket).collect());
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

impl Collector for DeliveryHistogram {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![self.family.clone()]
    }
}
