//! How long things took, as counts in fixed buckets: what is observed costs two atomic additions.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the buckets, in microseconds. One more bucket counts what took longer.
const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < took);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took, Relaxed);
    }

    /// The buckets' upper bounds in seconds, each with the count of durations up to it.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let counts = BOUNDS_US.iter().zip(&self.counts);
        let upto = counts.map(|(bound, count)| {
            sum += count.load(Relaxed);
            (Duration::from_micros(*bound).as_secs_f64(), sum)
        });
        upto.collect()
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_next_bound() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 3_000, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.first(), Some(&(0.00005, 2)));
        assert_eq!(buckets[1], (0.0001, 3));
        assert_eq!(buckets[6], (0.005, 4));
        assert_eq!(buckets.last(), Some(&(10.0, 4)));
        assert_eq!(
            (histogram.count(), histogram.sum()),
            (5, Duration::from_micros(20_003_101))
        );
    }
}
