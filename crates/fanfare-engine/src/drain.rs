//! Spreads the closes of a drain over its time.

use std::time::Duration;

use super::clock::millis;

#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// The time at which it began, in milliseconds of the node's clock.
    began: u64,
    window_ms: u64,
    total: usize,
    pub(super) closed: usize,
}

impl Drain {
    pub(super) fn new(window: Duration, total: usize, began: u64) -> Self {
        Self {
            began,
            window_ms: millis(window),
            total,
            closed: 0,
        }
    }

    /// Returns the number of connections that should be closed by `now`.
    pub(super) fn due(&self, now: u64) -> usize {
        let passed = now.saturating_sub(self.began);
        if passed >= self.window_ms {
            return usize::MAX; // some may have been opened at the last moment
        }
        let share = self.total as u64 * passed / self.window_ms;
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_closes_evenly_and_in_time() {
        let drain = Drain {
            began: 1_000,
            window_ms: 10_000,
            total: 500,
            closed: 0,
        };
        for (now, due) in [
            (900, 0),
            (1_000, 0),
            (2_000, 50),
            (6_000, 250),
            (10_999, 499),
            (11_000, usize::MAX),
        ] {
            assert_eq!(drain.due(now), due, "at {now}");
        }
        let at_once = Drain {
            window_ms: 0,
            ..drain
        };
        assert_eq!(at_once.due(1_000), usize::MAX);
    }
}
