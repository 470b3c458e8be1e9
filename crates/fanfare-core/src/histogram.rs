//! Counts durations in fixed cells; each costs two atomic additions.
//!
//! Prometheus has two forms of histograms: classic ones with a few bounds, and native ones with many. A cell ends at each bound of
//! both forms, so both are built from the same counts.

use std::{
    array,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use smart_default::SmartDefault;

/// The upper bounds of the classic buckets, in microseconds. One more bucket counts longer durations.
const CLASSIC_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// The resolution of native buckets: the upper bound of bucket `i` is `2^(i / 2^SCHEMA)` seconds, 9 % above the bound before it.
const SCHEMA: i32 = 3;
/// The bucket that ends at 0.95 µs. The zero bucket counts shorter durations.
const FIRST: i32 = -20 << SCHEMA;
/// The bucket that ends at 17 minutes. One more bucket counts longer durations.
const LAST: i32 = 10 << SCHEMA;

const BOUNDS: usize = CLASSIC_US.len() + (LAST - FIRST + 1) as usize;

/// A power of two has 16 slots, so a slot is narrower than a native bucket.
const SLOT_BITS: u32 = 4;
const SLOTS: usize = 61 << SLOT_BITS;
/// The maximum of bounds in a slot: a native and a classic one.
const BOUNDS_IN_SLOT: usize = 2;

static CELLS: LazyLock<Cells> = LazyLock::new(Cells::new);

struct Cells {
    /// The upper bounds of all cells except the last, in nanoseconds, in order, and some infinite ones. One second is a bound of both
    /// forms, so it is there twice, and its second cell stays empty.
    bounds: [u64; BOUNDS + BOUNDS_IN_SLOT],
    /// The first cell of each slot. With it, the search of a cell takes two comparisons instead of nine.
    first: [usize; SLOTS],
}

impl Cells {
    fn new() -> Self {
        let native = (FIRST..=LAST).map(native_bound);
        let mut all = native.chain(CLASSIC_US.map(Duration::from_micros)).map(nanos);
        let mut bounds = array::from_fn(|_| all.next().unwrap_or(u64::MAX));
        bounds.sort_unstable();
        let first = array::from_fn(|slot| bounds.partition_point(|bound| slot_of(*bound) < slot));
        Self { bounds, first }
    }

    fn of(&self, took: u64) -> usize {
        let first = self.first[slot_of(took)];
        let bounds = &self.bounds[first..first + BOUNDS_IN_SLOT];
        first + bounds.iter().filter(|bound| **bound < took).count()
    }
}

/// Returns the slot of a number, which its highest bits determine.
#[expect(clippy::cast_possible_truncation, reason = "there are only `SLOTS` slots")]
fn slot_of(number: u64) -> usize {
    let number = number.max(1 << SLOT_BITS);
    let shift = number.ilog2() - SLOT_BITS;
    // Five bits are left, and the highest of them is set.
    (u64::from(shift << SLOT_BITS) + (number >> shift)) as usize
}

/// The numbers of observed durations.
#[derive(Debug, SmartDefault)]
pub struct Histogram {
    #[default([const { AtomicU64::new(0) }; BOUNDS + 1])]
    counts: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let took = nanos(took);
        self.counts[CELLS.of(took)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(took, Relaxed);
    }

    /// Returns the current counts.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        HistogramSnapshot {
            upto: self.counts.each_ref().map(|cell| {
                count += cell.load(Relaxed);
                count
            }),
            sum: Duration::from_nanos(self.sum_ns.load(Relaxed)),
        }
    }
}

/// The counts of a histogram at one moment. So the sum of the buckets is the count.
#[derive(Debug)]
pub struct HistogramSnapshot {
    /// The number of durations in each cell and all before it.
    upto: [u64; BOUNDS + 1],
    sum: Duration,
}

impl HistogramSnapshot {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.upto[BOUNDS]
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns the upper bounds of the classic buckets in seconds, each with the number of durations up to it.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = CLASSIC_US.into_iter().map(Duration::from_micros);
        bounds
            .map(|bound| (bound.as_secs_f64(), self.upto(bound)))
            .collect()
    }

    /// Returns the native buckets.
    pub fn native(&self) -> NativeBuckets {
        let zero_count = self.upto(native_bound(FIRST));
        let mut before = zero_count;
        let uptos = (FIRST + 1..=LAST).map(|index| (index, self.upto(native_bound(index))));
        let uptos = uptos.chain([(LAST + 1, self.count())]);
        let counts = uptos.map(|(index, upto)| {
            let count = upto - before;
            before = upto;
            (index, count)
        });
        NativeBuckets {
            schema: SCHEMA,
            zero_threshold: native_seconds(FIRST),
            zero_count,
            counts: counts.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Returns the number of durations up to `bound`, which is a bound of one of the forms.
    fn upto(&self, bound: Duration) -> u64 {
        self.upto[CELLS.of(nanos(bound))]
    }
}

/// The buckets of a native histogram, as Prometheus defines them.
#[derive(Debug, PartialEq)]
pub struct NativeBuckets {
    /// The upper bound of bucket `i` is `2^(i / 2^schema)` seconds.
    pub schema: i32,
    /// The upper bound of the zero bucket, in seconds.
    pub zero_threshold: f64,
    /// The number of durations in the zero bucket.
    pub zero_count: u64,
    /// The buckets that are not empty, by index: each index with its count.
    pub counts: Vec<(i32, u64)>,
}

fn native_bound(index: i32) -> Duration {
    Duration::from_secs_f64(native_seconds(index))
}

fn native_seconds(index: i32) -> f64 {
    (f64::from(index) / f64::from(1 << SCHEMA)).exp2()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(nanos: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        for nanos in nanos {
            histogram.observe(Duration::from_nanos(*nanos));
        }
        histogram.snapshot()
    }

    #[test]
    fn a_duration_is_in_the_bucket_of_the_next_bound() {
        let snapshot = observed(&[0, 50_000, 50_001, 3_000_000, 20_000_000_000]);
        let buckets = snapshot.buckets();
        assert_eq!(buckets.first(), Some(&(0.00005, 2)));
        assert_eq!(buckets[1], (0.0001, 3));
        assert_eq!(buckets[6], (0.005, 4));
        assert_eq!(buckets.last(), Some(&(10.0, 4)));
        assert_eq!(
            (snapshot.count(), snapshot.sum()),
            (5, Duration::from_nanos(20_003_100_001))
        );
    }

    #[test]
    fn native_buckets_are_those_of_the_schema() {
        const SECOND: u64 = 1_000_000_000;
        let snapshot = observed(&[
            0,
            954,            // 2^-20 s, rounded
            955,            // the bucket above
            SECOND,         // 2^0 s
            SECOND + 1,     // the bucket above
            2 * SECOND,     // 2^(8/8) s
            1_024 * SECOND, // the last bound
            1_024 * SECOND + 1,
            u64::MAX,
        ]);
        let native = snapshot.native();
        assert_eq!((native.schema, native.zero_threshold), (3, 0.5_f64.powi(20)));
        assert_eq!(native.zero_count, 2);
        assert_eq!(
            native.counts,
            [(-159, 1), (0, 1), (1, 1), (8, 1), (80, 1), (81, 2)]
        );
    }

    #[test]
    fn both_forms_count_each_duration_once() {
        let nanos: Vec<_> = (0..60).flat_map(|bits| [1_u64 << bits, 3 << bits]).collect();
        let snapshot = observed(&nanos);
        let native = snapshot.native();
        let counts = native.counts.iter().map(|(_, count)| count);
        assert_eq!(native.zero_count + counts.sum::<u64>(), snapshot.count());
        assert_eq!(snapshot.count(), 120);
        for (bound, count) in snapshot.buckets() {
            let upto = nanos
                .iter()
                .filter(|nanos| Duration::from_nanos(**nanos).as_secs_f64() <= bound);
            assert_eq!(upto.count() as u64, count, "{bound}");
        }
    }
}
