//! Limits the rate of log lines that a peer can cause.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A limit of one log line per interval, with the number of suppressed lines.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    begin: Instant,
    /// The time from which a line is allowed, in nanoseconds since `begin`.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl LogThrottle {
    /// Returns a throttle with a minimum time between two lines.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            begin: Instant::now(),
            next: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Returns `None` if this line must not be logged, else the number of lines suppressed since the last one.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.begin));
        let next = self.next.load(Relaxed);
        let after = now.saturating_add(nanos(self.interval));
        if now >= next && self.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok() {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_is_allowed() {
        let second = Duration::from_secs(1);
        let throttle = LogThrottle::new(second);
        let at = |seconds: f32| throttle.pass_at(throttle.begin + second.mul_f32(seconds));
        assert_eq!(at(0.0), Some(0));
        assert_eq!(at(0.1), None);
        assert_eq!(at(0.9), None);
        assert_eq!(at(1.5), Some(2));
        assert_eq!(at(2.0), None);
        assert_eq!(at(9.0), Some(1));
    }
}
