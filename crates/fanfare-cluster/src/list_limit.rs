//! How many members a room may have for a connection that enters it to receive their list.

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

    /// The list of `count` members; `None`, which is counted, if there are too many. A list is whole or left out: a part of it
    /// would not fit to the announcements that follow.
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

    /// No list, which is counted.
    pub(crate) fn leave_out(&self) -> Option<Vec<Member>> {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many lists were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
