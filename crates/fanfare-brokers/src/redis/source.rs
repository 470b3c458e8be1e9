//! Which of two copies of a channel's event counts.
//!
//! A listening connection is subscribed to channels one by one, or to the pattern of all. While it changes from one to
//! the other both are in force, and Redis sends a copy for each. A mark that the node sends itself meanwhile says where
//! in the stream the one kind ceases to count and the other begins: so every event counts once, and in order.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::oneshot;

use crate::wire;

/// What one listening connection takes channels' events from.
#[derive(Default)]
pub(super) struct Source {
    by_pattern: AtomicBool,
    change: Mutex<Option<Change>>,
}

struct Change {
    mark: u64,
    by_pattern: bool,
    done: oneshot::Sender<()>,
}

impl Source {
    /// The pattern counts from the start.
    pub(super) fn start_by_pattern(&self) {
        self.by_pattern.store(true, Ordering::Relaxed);
    }

    /// Whether a message counts that came on the Redis channel `channel`, by the pattern or not.
    pub(super) fn counts(&self, channel: &str, by_pattern: bool) -> bool {
        !channel.starts_with(wire::CHANNEL) || by_pattern == self.by_pattern.load(Ordering::Relaxed)
    }

    /// At `mark` the other kind begins to count; the receiver hears of it.
    pub(super) fn change_at(&self, mark: u64, by_pattern: bool) -> oneshot::Receiver<()> {
        let (done, changed) = oneshot::channel();
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change {
            mark,
            by_pattern,
            done,
        });
        changed
    }

    /// `mark` has come.
    pub(super) fn marked(&self, mark: u64) {
        let mut change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = change.take_if(|change| change.mark == mark) {
            self.by_pattern.store(change.by_pattern, Ordering::Relaxed);
            let _ = change.done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_copy_counts_before_the_mark_and_the_other_after() {
        let source = Source::default();
        let counting = || {
            (
                source.counts("fanfare:channel:a", false),
                source.counts("fanfare:channel:a", true),
            )
        };
        assert_eq!(counting(), (true, false));
        let mut changed = source.change_at(7, true);
        source.marked(6);
        assert_eq!((counting(), changed.try_recv().is_ok()), ((true, false), false));
        source.marked(7);
        assert_eq!((counting(), changed.try_recv().is_ok()), ((false, true), true));
        // A mark that was sent again is nothing new.
        let _changed = source.change_at(8, false);
        source.marked(7);
        assert_eq!(counting(), (false, true));
        assert!(source.counts("user_noti:a", false), "users are not concerned");
    }
}
