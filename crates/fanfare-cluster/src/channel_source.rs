//! Which of two copies of a channel's event counts.
//!
//! A receiving connection is subscribed to channels one by one, or to all of them at once. While it changes from one to
//! the other both are in force, and the server sends a copy for each. A mark that the node sends itself meanwhile shows
//! where in the stream the one kind ceases to count and the other begins: so every event counts once, and in order.
//!
//! A transport without one order for all senders lets the mark in between the two copies of an event. There, what came before
//! the mark is remembered until its twin has come: after the mark, the twin of a copy that counted does not count, and the twin
//! of one that did not count does.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use ahash::{AHashMap, RandomState};
use fanfare_core::{Audience, Channel, locked};
use tokio::sync::oneshot;

/// What one receiving connection takes channels' events from.
#[derive(Default)]
pub(crate) struct ChannelSource {
    by_all_channels: AtomicBool,
    /// Both kinds are in force, and the mark may stand between two copies.
    is_changing: AtomicBool,
    has_one_order: bool,
    change: Mutex<Option<SourceChange>>,
    hasher: RandomState,
}

struct SourceChange {
    mark: u64,
    by_all_channels: bool,
    /// Taken at the mark.
    done: Option<oneshot::Sender<()>>,
    /// How many copies that counted have no twin yet, by their hash.
    counted: Twins,
    /// How many copies that did not count have no twin yet.
    skipped: Twins,
}

#[derive(Default)]
struct Twins(AHashMap<u64, u32>);

impl ChannelSource {
    /// For a connection of a transport that has one order for all senders, or has not.
    pub(crate) fn new(has_one_order: bool) -> Self {
        Self {
            has_one_order,
            ..Self::default()
        }
    }

    /// The subscription to all channels counts from the start.
    pub(crate) fn start_by_all_channels(&self) {
        self.by_all_channels.store(true, Ordering::Relaxed);
    }

    /// Whether a message counts that arrived for `audience`, by the subscription to all channels or not.
    pub(crate) fn counts(&self, audience: &Audience, by_all_channels: bool, payload: &[u8]) -> bool {
        let Audience::Channel(channel) = audience else {
            return true;
        };
        let is_counting = by_all_channels == self.by_all_channels.load(Ordering::Relaxed);
        if self.is_changing.load(Ordering::Relaxed) {
            self.counts_meanwhile(is_counting, channel, payload)
        } else {
            is_counting
        }
    }

    fn counts_meanwhile(&self, is_counting: bool, channel: &Channel, payload: &[u8]) -> bool {
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

    /// Both kinds are in force. At `mark` the other kind begins to count; the receiver resolves then.
    pub(crate) fn change_at(&self, mark: u64, by_all_channels: bool) -> oneshot::Receiver<()> {
        let (done, changed) = oneshot::channel();
        *locked(&self.change) = Some(SourceChange {
            mark,
            by_all_channels,
            done: Some(done),
            counted: Twins::default(),
            skipped: Twins::default(),
        });
        self.is_changing.store(!self.has_one_order, Ordering::Relaxed);
        changed
    }

    /// `mark` has arrived.
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

    /// Only the kind that counts is in force.
    pub(crate) fn changed(&self) {
        self.is_changing.store(false, Ordering::Relaxed);
        *locked(&self.change) = None;
    }
}

impl Twins {
    fn add(&mut self, hash: u64) {
        *self.0.entry(hash).or_default() += 1;
    }

    /// Takes one away. Returns whether there was one.
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
        // A mark that was sent again is nothing new.
        let _changed = source.change_at(8, false);
        source.marked(7);
        assert_eq!(counting(), (false, true));
        assert!(source.counts(&Audience::Everyone, false, b""));
    }

    /// Wherever the mark stands among the copies of three events, two of which look alike.
    #[test]
    fn a_mark_between_two_copies_loses_and_doubles_nothing() {
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
