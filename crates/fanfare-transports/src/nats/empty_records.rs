//! The presence records without holders, which stay for a while.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use fanfare_core::locked;

/// The time for which an empty record stays.
const EMPTY_LIFETIME: Duration = Duration::from_secs(60);
/// The most empty records to remove at once.
const BATCH: usize = 256;

/// The time and the number of each change that left a record empty.
#[derive(Default)]
pub(super) struct EmptyRecords(Mutex<VecDeque<(Instant, u64)>>);

impl EmptyRecords {
    /// Notes that the change of this number left a record empty.
    pub(super) fn add(&self, sequence: u64) {
        locked(&self.0).push_back((Instant::now(), sequence));
    }

    /// Removes and returns the numbers of some changes that are older than [`EMPTY_LIFETIME`].
    pub(super) fn take_due(&self) -> Vec<u64> {
        let (mut empty, mut due) = (locked(&self.0), Vec::new());
        while due.len() < BATCH
            && let Some((since, sequence)) = empty.front().copied()
            && since.elapsed() > EMPTY_LIFETIME
        {
            empty.pop_front();
            due.push(sequence);
        }
        due
    }
}
