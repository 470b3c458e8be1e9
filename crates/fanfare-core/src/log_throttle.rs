//! A limit on the rate of log lines that a peer can cause at will.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Lets one line pass per interval and counts those held back.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    begin: Instant,
    /// When the next line may pass, in nanoseconds since `begin`.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl LogThrottle {
    /// Returns a throttle with this time between two lines.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            begin: Instant::now(),
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Returns the number of lines held back since the last that passed, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.begin));
        let next = self.next.load(Relaxed);
        let after = now.saturating_add(nanos(self.interval));
        if now >= next && self.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok() {
            return Some(self.held_back.swap(0, Relaxed));
        }
        self.held_back.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_each_interval() {
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
