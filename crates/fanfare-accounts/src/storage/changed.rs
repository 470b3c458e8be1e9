//! The last state of a condition that a loop meets, so that the log has a line when it changes and not each time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The state that was noted last.
#[derive(Debug, Default)]
pub(super) struct Changed<T>(Mutex<T>);

impl<T: PartialEq> Changed<T> {
    /// Notes the state, and returns whether it is another than before.
    pub(super) fn to(&self, state: T) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *last != state;
        *last = state;
        changed
    }
}

/// A condition of which nobody learns that it is over. A line about it is repeated at times.
#[derive(Debug)]
pub(super) struct Repeated<T> {
    pause: Duration,
    last: Mutex<Option<(T, Instant)>>,
}

impl<T: PartialEq> Repeated<T> {
    /// The same state is worth another line after `pause`.
    pub(super) fn every(pause: Duration) -> Self {
        Self {
            pause,
            last: Mutex::new(None),
        }
    }

    /// Notes the state, and returns whether it is another than before, or the last line was long ago.
    pub(super) fn is_due(&self, state: T) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
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
