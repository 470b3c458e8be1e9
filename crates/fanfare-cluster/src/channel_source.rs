//! Which of two copies of a channel's event counts.
//!
//! A receiving connection is subscribed to channels one by one, or to all of them at once. While it changes from one to
//! the other both are in force, and the server sends a copy for each. A mark that the node sends itself meanwhile shows
//! where in the stream the one kind ceases to count and the other begins: so every event counts once, and in order.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use fanfare_core::Audience;
use tokio::sync::oneshot;

/// What one receiving connection takes channels' events from.
#[derive(Default)]
pub(crate) struct ChannelSource {
    by_all_channels: AtomicBool,
    change: Mutex<Option<Change>>,
}

struct Change {
    mark: u64,
    by_all_channels: bool,
    done: oneshot::Sender<()>,
}

impl ChannelSource {
    /// The subscription to all channels counts from the start.
    pub(crate) fn start_by_all_channels(&self) {
        self.by_all_channels.store(true, Ordering::Relaxed);
    }

    /// Whether a message counts that arrived for `audience`, by the subscription to all channels or not.
    pub(crate) fn counts(&self, audience: &Audience, by_all_channels: bool) -> bool {
        !matches!(audience, Audience::Channel(_))
            || by_all_channels == self.by_all_channels.load(Ordering::Relaxed)
    }

    /// At `mark` the other kind begins to count; the receiver resolves then.
    pub(crate) fn change_at(&self, mark: u64, by_all_channels: bool) -> oneshot::Receiver<()> {
        let (done, changed) = oneshot::channel();
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change {
            mark,
            by_all_channels,
            done,
        });
        changed
    }

    /// `mark` has arrived.
    pub(crate) fn marked(&self, mark: u64) {
        let mut change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = change.take_if(|change| change.mark == mark) {
            self.by_all_channels
                .store(change.by_all_channels, Ordering::Relaxed);
            let _ = change.done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::Channel;

    use super::*;

    #[test]
    fn one_copy_counts_before_the_mark_and_the_other_after() {
        let source = ChannelSource::default();
        let channel = Audience::Channel(Channel::new("a").unwrap());
        let counting = || (source.counts(&channel, false), source.counts(&channel, true));
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
        assert!(source.counts(&Audience::Everyone, false));
    }
}
