//! The last state of a condition that a loop meets, so that the log has a line per change and not per round.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use fanfare_core::locked;

#[derive(Debug, Default)]
pub(super) struct Changed<T>(Mutex<T>);

impl<T: PartialEq> Changed<T> {
    /// Records the state, and returns whether it has changed.
    pub(super) fn to(&self, state: T) -> bool {
        let mut last = locked(&self.0);
        std::mem::replace(&mut *last, state) != *last
    }
}

/// A condition whose end is not observed. A line about it is repeated from time to time.
#[derive(Debug)]
pub(super) struct Repeated<T> {
    pause: Duration,
    last: Mutex<Option<(T, Instant)>>,
}

impl<T: PartialEq> Repeated<T> {
    /// Returns a condition whose unchanged state is worth another line after `pause`.
    pub(super) fn every(pause: Duration) -> Self {
        Self {
            pause,
            last: Mutex::new(None),
        }
    }

    /// Records the state, and returns whether it has changed or the last line is long ago.
    pub(super) fn is_due(&self, state: T) -> bool {
        let mut last = locked(&self.last);
        let is_known = matches!(&*last, Some((known, at)) if *known == state && at.elapsed() < self.pause);
        if !is_known {
            *last = Some((state, Instant::now()));
        }
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_once() {
        let state = Changed::default();
        let seen = [None, Some(1), Some(1), Some(2), None, None].map(|now| state.to(now));
        assert_eq!(seen, [false, true, false, true, true, false]);
    }

    #[test]
    fn the_same_again_after_a_while() {
        let seldom = Repeated::every(Duration::MAX);
        assert_eq!(
            [1, 1, 2, 2, 1].map(|now| seldom.is_due(now)),
            [true, false, true, false, true]
        );
        let always = Repeated::every(Duration::ZERO);
        assert!(always.is_due(1) && always.is_due(1));
    }
}
