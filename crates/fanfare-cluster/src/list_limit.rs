//! The limit of the lists of members that connections receive when they enter a room.

use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_core::Member;

/// See the module's documentation.
pub(crate) struct ListLimit {
    most: usize,
    left_out: AtomicU64,
}

impl ListLimit {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            left_out: AtomicU64::new(0),
        }
    }

    /// Returns the list of `count` members. If there are too many, it returns `None` and counts that. A list is never truncated:
    /// the announcements that follow would not continue from it.
    pub(crate) fn list<'a>(
        &self,
        count: usize,
        members: impl IntoIterator<Item = &'a Member>,
    ) -> Option<Vec<Member>> {
        if count > self.most {
            return self.leave_out();
        }
        Some(members.into_iter().cloned().collect())
    }

    /// Counts a list that is left out, and returns `None`.
    pub(crate) fn leave_out(&self) -> Option<Vec<Member>> {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Returns the number of lists that were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
