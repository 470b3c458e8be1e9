//! The channels that this node's connections subscribe to, over all shards.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::{
    ShardSet,
    held::{Held, ShardAndDialect, WATCHED},
};
use crate::{
    Channel, Pattern,
    striped::{Striped, forget, locked},
};

/// Counts, per channel, the subscribed connections of each shard. A publish then goes only to shards with a
/// receiver, and the node asks the broker only for channels with a subscriber.
///
/// Patterns are counted together: a node with any pattern asks the broker for every channel, and a shard with
/// any receives every channel's events, because only its own index knows which match.
///
/// `T` is as in [`Interests`](crate::Interests).
#[derive(Debug)]
pub struct ChannelInterests<T> {
    channels: Striped<Channel, Held<T>>,
    subscriptions: AtomicU64,
    /// Subscriptions to each pattern, for the metrics.
    patterns: Striped<Pattern, usize>,
    /// The number of all subscriptions to patterns.
    any_pattern: Mutex<Option<Held<T>>>,
    /// The shards with patterns, readable without the lock.
    pattern_shards: AtomicU64,
}

// Channels are not counted by dialect; every subscription counts as one of this.
const NO_DIALECT: usize = 0;

impl<T> Default for ChannelInterests<T> {
    fn default() -> Self {
        Self {
            channels: Striped::default(),
            subscriptions: AtomicU64::new(0),
            patterns: Striped::default(),
            any_pattern: Mutex::new(None),
            pattern_shards: AtomicU64::new(0),
        }
    }
}

impl<T: Clone> ChannelInterests<T> {
    /// Counts one more connection of `shard` on `channel`. `first` runs under the lock if it is the node's
    /// first, so that its request to the broker and that of [`ChannelInterests::release`] keep their order.
    pub fn acquire(&self, channel: &Channel, shard: usize, first: impl FnOnce() -> T) -> T {
        let mut stripe = self.channels.lock(channel);
        let held = stripe
            .entry(channel.clone())
            .or_insert_with(|| Held::new(first()));
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        held.add((shard, NO_DIALECT))
    }

    /// Removes one connection of `shard` from the count of `channel`. `last` runs under the lock if it was the node's
    /// last.
    pub fn release(&self, channel: &Channel, shard: usize, last: impl FnOnce()) {
        let mut stripe = self.channels.lock(channel);
        let Some(held) = stripe.get_mut(&**channel) else {
            return;
        };
        if !held.remove((shard, NO_DIALECT)) {
            return;
        }
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        if held.is_empty() {
            forget(&mut stripe, channel);
            last();
        }
    }

    /// Holds `channel` for a watcher, which counts as no subscription. `first` runs under the lock if nothing on this node
    /// needs the channel yet.
    pub fn watch(&self, channel: &Channel, first: impl FnOnce() -> T) -> T {
        let mut stripe = self.channels.lock(channel);
        stripe
            .entry(channel.clone())
            .or_insert_with(|| Held::new(first()))
            .add(WATCHED)
    }

    /// Releases the hold of [`ChannelInterests::watch`]. `last` runs under the lock if nothing on this node needs the
    /// channel any more.
    pub fn unwatch(&self, channel: &Channel, last: impl FnOnce()) {
        let mut stripe = self.channels.lock(channel);
        let Some(held) = stripe.get_mut(&**channel) else {
            return;
        };
        if held.remove(WATCHED) && held.is_empty() {
            forget(&mut stripe, channel);
            last();
        }
    }

    /// Holds all channels for a watcher. `first` runs under the lock if the node had no pattern.
    pub fn watch_all(&self, first: impl FnOnce() -> T) -> T {
        self.hold_any(WATCHED, first)
    }

    /// Releases the hold of [`ChannelInterests::watch_all`]. `last` runs under the lock if the node has no pattern
    /// left.
    pub fn unwatch_all(&self, last: impl FnOnce()) {
        self.release_any(WATCHED, last);
    }

    /// Counts a subscription of `shard` to `pattern`. `first` runs under the lock if the node had no pattern.
    pub fn acquire_pattern(&self, pattern: &Pattern, shard: usize, first: impl FnOnce() -> T) -> T {
        *self
            .patterns
            .lock(pattern.as_str())
            .entry(pattern.clone())
            .or_default() += 1;
        self.hold_any((shard, NO_DIALECT), first)
    }

    /// Removes a subscription of `shard` to `pattern` from the count. `last` runs under the lock if the node has no
    /// pattern left.
    pub fn release_pattern(&self, pattern: &Pattern, shard: usize, last: impl FnOnce()) {
        if !self.release_any((shard, NO_DIALECT), last) {
            return;
        }
        let mut stripe = self.patterns.lock(pattern.as_str());
        if let Some(subscriptions) = stripe.get_mut(pattern.as_str()) {
            *subscriptions -= 1;
            if *subscriptions == 0 {
                forget(&mut stripe, pattern.as_str());
            }
        }
    }

    /// Holds all channels for `place`.
    fn hold_any(&self, place: ShardAndDialect, first: impl FnOnce() -> T) -> T {
        let mut any = locked(&self.any_pattern);
        let held = any.get_or_insert_with(|| Held::new(first()));
        let placed = held.add(place);
        self.pattern_shards.store(held.shards().bits(), Ordering::Release);
        placed
    }

    /// Releases the hold of [`ChannelInterests::hold_any`]; returns whether `place` had one.
    fn release_any(&self, place: ShardAndDialect, last: impl FnOnce()) -> bool {
        let mut any = locked(&self.any_pattern);
        let Some(held) = &mut *any else {
            return false;
        };
        if !held.remove(place) {
            return false;
        }
        self.pattern_shards.store(held.shards().bits(), Ordering::Release);
        if held.is_empty() {
            *any = None;
            last();
        }
        true
    }

    /// Returns the shards that may have receivers of an event on `channel`: those with a subscriber, and those
    /// with any pattern.
    pub fn shards_of(&self, channel: &str) -> ShardSet {
        let exact = self.channels.lock(channel).get(channel).map(Held::shards);
        exact.unwrap_or_default() | ShardSet::from_bits(self.pattern_shards.load(Ordering::Acquire))
    }

    /// Returns the number of connections subscribed to exactly `channel`.
    pub fn connections_of(&self, channel: &str) -> usize {
        let stripe = self.channels.lock(channel);
        stripe.get(channel).map_or(0, Held::connections)
    }

    /// Returns every channel with the number of its subscribers, in any order. Copies the list.
    pub fn channels(&self) -> Vec<(Channel, usize)> {
        let mut all = self
            .channels
            .collect(|channel, held| (channel.clone(), held.connections()));
        all.retain(|(_, subscribers)| *subscribers > 0); // the rest is only watched
        all
    }

    /// Returns the number of different channels, including those that are only watched.
    pub fn channels_held(&self) -> usize {
        self.channels.count()
    }

    /// Returns the number of all subscriptions to channels.
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Returns the number of different patterns.
    pub fn patterns_held(&self) -> usize {
        self.patterns.count()
    }

    /// Returns the number of all subscriptions to patterns.
    pub fn pattern_subscriptions(&self) -> usize {
        locked(&self.any_pattern).as_ref().map_or(0, Held::connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::new(name).expect("a name")
    }

    fn shards<T: Clone>(interests: &ChannelInterests<T>, channel: &str) -> Vec<usize> {
        let shards = interests.shards_of(channel);
        (0..64).filter(|shard| shards.contains(*shard)).collect()
    }

    #[test]
    fn channels_are_asked_for_once() {
        let (general, news) = (channel("chat.general"), channel("news"));
        let interests = ChannelInterests::default();
        for (channel, shard, word, expected) in [
            (&general, 0, "first", "first"),
            (&general, 3, "second", "first"),
            (&general, 3, "third", "first"),
            (&news, 1, "other", "other"),
        ] {
            assert_eq!(interests.acquire(channel, shard, || word), expected);
        }
        assert_eq!(shards(&interests, "chat.general"), [0, 3]);
        assert_eq!(shards(&interests, "news"), [1]);
        assert!(interests.shards_of("chat:general").is_empty());
        assert_eq!((interests.channels_held(), interests.subscriptions()), (2, 4));
        let mut listed = interests.channels();
        listed.sort_unstable();
        assert_eq!(listed, [(general.clone(), 3), (news.clone(), 1)]);
        assert_eq!(interests.connections_of("chat.general"), 3);

        let mut released = 0;
        for (channel, shard, expected) in [
            (&general, 3, 0),
            (&general, 1, 0), // never was
            (&general, 0, 0),
            (&general, 3, 1),
            (&general, 3, 1), // no more
            (&news, 1, 2),
        ] {
            interests.release(channel, shard, || released += 1);
            assert_eq!(released, expected, "{channel} {shard}");
        }
        assert_eq!((interests.channels_held(), interests.subscriptions()), (0, 0));
    }

    #[test]
    fn watchers_hold_channels_and_count_as_no_subscription() {
        let (interests, news) = (ChannelInterests::default(), channel("news"));
        assert_eq!(interests.watch(&news, || "asked"), "asked");
        assert_eq!(interests.watch_all(|| "asked for all"), "asked for all");
        assert_eq!(
            (
                interests.channels(),
                interests.subscriptions(),
                interests.pattern_subscriptions()
            ),
            (Vec::new(), 0, 0)
        );
        assert_eq!(interests.acquire(&news, 1, || "again"), "asked");
        let all = Pattern::new("**").expect("a pattern");
        assert_eq!(interests.acquire_pattern(&all, 1, || "again"), "asked for all");
        let mut released = 0;
        interests.release(&news, 1, || released += 1);
        interests.release_pattern(&all, 1, || released += 1);
        assert_eq!((released, interests.patterns_held()), (0, 0), "both are watched");
        interests.unwatch(&news, || released += 1);
        interests.unwatch_all(|| released += 1);
        interests.unwatch_all(|| released += 1);
        assert_eq!((released, interests.channels_held()), (2, 0));
        assert!(interests.shards_of("news").is_empty());
    }

    #[test]
    fn a_shard_with_patterns_may_want_everything() {
        let interests = ChannelInterests::default();
        interests.acquire(&channel("news"), 2, || "news");
        let [one, other] = ["a.*", "b.**"].map(|text| Pattern::new(text).expect("a pattern"));
        assert_eq!(interests.acquire_pattern(&one, 0, || "first"), "first");
        assert_eq!(interests.acquire_pattern(&one, 5, || "second"), "first");
        assert_eq!(interests.acquire_pattern(&other, 5, || "third"), "first");
        assert_eq!(interests.patterns_held(), 2);
        assert_eq!(shards(&interests, "news"), [0, 2, 5]);
        assert_eq!(shards(&interests, "unheard.of"), [0, 5]);
        assert_eq!(interests.pattern_subscriptions(), 3);

        let mut released = 0;
        for (pattern, shard, expected, left, different) in [
            (&one, 5, 0, vec![0, 2, 5], 2),
            (&one, 1, 0, vec![0, 2, 5], 2), // never was
            (&one, 0, 0, vec![2, 5], 1),
            (&other, 5, 1, vec![2], 0),
            (&other, 5, 1, vec![2], 0), // no more
        ] {
            interests.release_pattern(pattern, shard, || released += 1);
            assert_eq!(
                (released, interests.patterns_held()),
                (expected, different),
                "{shard}"
            );
            assert_eq!(shards(&interests, "news"), left);
        }
        assert_eq!(interests.pattern_subscriptions(), 0);
        assert_eq!(interests.acquire_pattern(&one, 1, || "anew"), "anew");
    }
}
