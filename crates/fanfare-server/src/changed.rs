//! The last state of a condition that a loop meets, so that the log has a line when it changes and not each time.

use std::sync::{Mutex, PoisonError};

/// The state that was noted last.
#[derive(Debug, Default)]
pub(crate) struct Changed<T>(Mutex<T>);

impl<T: PartialEq> Changed<T> {
    /// Notes the state, and returns whether it is another than before.
    pub(crate) fn to(&self, state: T) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *last != state;
        *last = state;
        changed
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
}
