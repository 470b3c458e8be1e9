//! Decides which of two copies of a channel's event counts.
//!
//! A receiving connection subscribes either to single channels or to all channels. While it changes from one kind to the other, both are
//! in force, and the server sends a copy for each. The node publishes a mark to itself. Up to the mark one kind counts, after it the
//! other, so every event counts once and in order.
//!
//! If the transport has no common order of all senders, the mark may arrive between the two copies of an event. For such a transport the
//! node remembers each copy before the mark until the other copy arrives. After the mark, the second copy counts if the first did not.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use ahash::{AHashMap, RandomState};
use fanfare_core::{Audience, Channel, locked};
use tokio::sync::oneshot;

/// The kind of subscription whose copies count, on one receiving connection.
#[derive(Default)]
pub(crate) struct ChannelSource {
    by_all_channels: AtomicBool,
    /// Whether both kinds are in force, and the mark may arrive between two copies.
    is_changing: AtomicBool,
    has_one_order: bool,
    change: Mutex<Option<SourceChange>>,
    hasher: RandomState,
}

struct SourceChange {
    mark: u64,
    by_all_channels: bool,
    /// Present until the mark arrives.
    done: Option<oneshot::Sender<()>>,
    /// The copies that counted, whose second copy has not arrived.
    counted: SingleCopies,
    /// The copies that did not count, whose second copy has not arrived.
    skipped: SingleCopies,
}

/// The number of single copies, by their hash.
#[derive(Default)]
struct SingleCopies(AHashMap<u64, u32>);

impl ChannelSource {
    /// Creates the source of a connection. `has_one_order` is whether the transport has a common order of all senders.
    pub(crate) fn new(has_one_order: bool) -> Self {
        Self {
            has_one_order,
            ..Self::default()
        }
    }

    /// Begins with the subscription to all channels.
    pub(crate) fn start_by_all_channels(&self) {
        self.by_all_channels.store(true, Ordering::Relaxed);
    }

    /// Returns whether a message for `audience` counts. `by_all_channels` is whether the subscription to all channels delivered it.
    pub(crate) fn counts(&self, audience: &Audience, by_all_channels: bool, payload: &[u8]) -> bool {
        let Audience::Channel(channel) = audience else {
            return true;
        };
        let is_counting = by_all_channels == self.by_all_channels.load(Ordering::Relaxed);
        if self.is_changing.load(Ordering::Relaxed) {
            self.counts_in_change(is_counting, channel, payload)
        } else {
            is_counting
        }
    }

    fn counts_in_change(&self, is_counting: bool, channel: &Channel, payload: &[u8]) -> bool {
        let mut change = locked(&self.change);
        let Some(change) = &mut *change else {
            return is_counting;
        };
        let hash = self.hasher.hash_one((channel, payload));
        let before_mark = change.done.is_some();
        match (before_mark, is_counting) {
            (true, true) => {
                if !change.skipped.take(hash) {
                    change.counted.add(hash);
                }
                true
            }
            (true, false) => {
                if !change.counted.take(hash) {
                    change.skipped.add(hash);
                }
                false
            }
            (false, true) => !change.counted.take(hash),
            (false, false) => change.skipped.take(hash),
        }
    }

    /// Begins a change: both kinds are in force, and at `mark` the other kind begins to count. The receiver resolves at the mark.
    pub(crate) fn change_at(&self, mark: u64, by_all_channels: bool) -> oneshot::Receiver<()> {
        let (done, changed) = oneshot::channel();
        *locked(&self.change) = Some(SourceChange {
            mark,
            by_all_channels,
            done: Some(done),
            counted: SingleCopies::default(),
            skipped: SingleCopies::default(),
        });
        self.is_changing.store(!self.has_one_order, Ordering::Relaxed);
        changed
    }

    /// Handles the arrival of `mark`.
    pub(crate) fn marked(&self, mark: u64) {
        let mut change = locked(&self.change);
        if let Some(change) = &mut *change
            && change.mark == mark
            && let Some(done) = change.done.take()
        {
            self.by_all_channels
                .store(change.by_all_channels, Ordering::Relaxed);
            let _ = done.send(());
        }
    }

    /// Ends a change: only the kind that counts is in force.
    pub(crate) fn changed(&self) {
        self.is_changing.store(false, Ordering::Relaxed);
        *locked(&self.change) = None;
    }
}

impl SingleCopies {
    fn add(&mut self, hash: u64) {
        *self.0.entry(hash).or_default() += 1;
    }

    /// Removes a copy. Returns whether there was one.
    fn take(&mut self, hash: u64) -> bool {
        let Some(count) = self.0.get_mut(&hash) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&hash);
        }
        true
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
        let counting = || {
            (
                source.counts(&channel, false, b""),
                source.counts(&channel, true, b""),
            )
        };
        assert_eq!(counting(), (true, false));
        let mut changed = source.change_at(7, true);
        source.marked(6);
        assert_eq!((counting(), changed.try_recv().is_ok()), ((true, false), false));
        source.marked(7);
        assert_eq!((counting(), changed.try_recv().is_ok()), ((false, true), true));
        // A repeated mark changes nothing.
        let _changed = source.change_at(8, false);
        source.marked(7);
        assert_eq!(counting(), (false, true));
        assert!(source.counts(&Audience::Everyone, false, b""));
    }

    /// Tries each position of the mark among the copies of three events, two of which are equal.
    #[test]
    fn a_mark_between_two_copies_loses_and_duplicates_no_event() {
        let channel = Audience::Channel(Channel::new("a").unwrap());
        let copies = [
            ("x", false),
            ("x", true),
            ("y", true),
            ("y", false),
            ("x", false),
            ("x", true),
        ];
        for by_all_channels in [false, true] {
            for mark_at in 0..=copies.len() {
                let source = ChannelSource::default();
                source.by_all_channels.store(!by_all_channels, Ordering::Relaxed);
                let _changed = source.change_at(1, by_all_channels);
                let mut counted = Vec::new();
                for (at, (payload, by_all)) in copies.into_iter().enumerate() {
                    if at == mark_at {
                        source.marked(1);
                    }
                    if source.counts(&channel, by_all, payload.as_bytes()) {
                        counted.push(payload);
                    }
                }
                assert_eq!(counted, ["x", "y", "x"], "{by_all_channels} {mark_at}");
                source.changed();
                assert!(source.change.lock().unwrap().is_none());
            }
        }
    }
}
