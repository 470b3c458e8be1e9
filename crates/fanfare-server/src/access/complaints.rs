//! How often a trouble that may come with every request is logged.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Says when to log, and how much was held back since the last time.
#[derive(Debug)]
pub(super) struct Complaints {
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Complaints {
    /// At most one every `pause`.
    pub(super) fn every(pause: Duration) -> Self {
        Self {
            pause,
            state: Mutex::default(),
        }
    }

    /// Whether to log now, and how many times the answer was no before.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.pause)
        {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_while() {
        let complaints = Complaints::every(Duration::from_secs(5));
        let start = Instant::now();
        for (second, expected) in [
            (0, Some(0)),
            (1, None),
            (4, None),
            (5, Some(2)),
            (9, None),
            (11, Some(1)),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(complaints.due(now), expected, "{second} s");
        }
    }
}
