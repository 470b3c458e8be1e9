//! The records of presence that nothing is held in, until they are removed.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an empty record stays.
const EMPTY_LIFETIME: Duration = Duration::from_secs(60);
/// Empty records that are removed at once.
const EMPTY: usize = 256;

/// When records were left empty, and the numbers of these changes.
#[derive(Default)]
pub(super) struct Empty(Mutex<VecDeque<(Instant, u64)>>);

impl Empty {
    /// A record was left empty by the change of this number.
    pub(super) fn add(&self, sequence: u64) {
        self.lock().push_back((Instant::now(), sequence));
    }

    /// The numbers of some that have been empty for long.
    pub(super) fn take_due(&self) -> Vec<u64> {
        let (mut empty, mut due) = (self.lock(), Vec::new());
        while due.len() < EMPTY
            && let Some((since, sequence)) = empty.front().copied()
            && since.elapsed() > EMPTY_LIFETIME
        {
            empty.pop_front();
            due.push(sequence);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
