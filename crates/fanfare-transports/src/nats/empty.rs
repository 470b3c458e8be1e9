//! The records of presence that nothing is held in, until they are removed.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use fanfare_core::locked;

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
        locked(&self.0).push_back((Instant::now(), sequence));
    }

    /// The numbers of some that have been empty for long.
    pub(super) fn take_due(&self) -> Vec<u64> {
        let (mut empty, mut due) = (locked(&self.0), Vec::new());
        while due.len() < EMPTY
            && let Some((since, sequence)) = empty.front().copied()
            && since.elapsed() > EMPTY_LIFETIME
        {
            empty.pop_front();
            due.push(sequence);
        }
        due
    }
}
