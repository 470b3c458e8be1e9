//! The presence records without holders, until they are removed.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use fanfare_core::locked;

/// How long an empty record stays.
const EMPTY_LIFETIME: Duration = Duration::from_secs(60);
/// The most empty records to remove at once.
const EMPTY: usize = 256;

/// The changes that left records empty: their times and numbers.
#[derive(Default)]
pub(super) struct Empty(Mutex<VecDeque<(Instant, u64)>>);

impl Empty {
    /// Notes that the change of this number left a record empty.
    pub(super) fn add(&self, sequence: u64) {
        locked(&self.0).push_back((Instant::now(), sequence));
    }

    /// Takes the numbers of some that have been empty for [`EMPTY_LIFETIME`].
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
