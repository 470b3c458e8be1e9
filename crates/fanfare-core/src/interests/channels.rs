//! The channels that this node's connections subscribe to, over all shards.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use smart_default::SmartDefault;

use super::{
    ShardSet,
    held::{Held, ShardAndDialect, WATCHED},
};
use crate::{
    Channel, Pattern,
    striped::{Striped, forget, locked},
};

/// Like [`Interests`](crate::Interests), for channels. Patterns are counted together: a node with any pattern asks the
/// broker for every channel, and a shard with any receives every channel's events, because only its own index knows
/// which match.
#[derive(Debug, SmartDefault)]
pub struct ChannelInterests<T> {
    channels: Striped<Channel, Held<T>>,
    subscriptions: AtomicU64,
    /// Subscriptions to each pattern, for the metrics.
    patterns: Striped<Pattern, usize>,
    any_pattern: Mutex<Option<Held<T>>>,
    /// The shards with patterns, readable without the lock.
    pattern_shards: AtomicU64,
}

// Channels are not counted by dialect; every subscription counts as one of this.
const NO_DIALECT: usize = 0;

impl<T: Clone> ChannelInterests<T> {
    /// Counts one more connection of `shard` on `channel`; `first` is as in
    /// [`Interests::acquire`](crate::Interests::acquire).
    pub fn acquire(&self, channel: &Channel, shard: usize, first: impl FnOnce() -> T) -> T {
        let placed = self.channels.hold(channel, (shard, NO_DIALECT), first);
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        placed
    }

    /// Removes one connection of `shard` from the count of `channel`. `last` runs under the lock if it was the last
    /// one.
    pub fn release(&self, channel: &Channel, shard: usize, last: impl FnOnce()) {
        if self.channels.let_go(channel, (shard, NO_DIALECT), last).is_some() {
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Holds `channel` for a watcher, which counts as no subscription. `first` runs under the lock if nothing held it
    /// yet.
    pub fn watch(&self, channel: &Channel, first: impl FnOnce() -> T) -> T {
        self.channels.hold(channel, WATCHED, first)
    }

    /// Releases the hold of [`ChannelInterests::watch`]. `last` runs under the lock if nothing holds the channel any
    /// more.
    pub fn unwatch(&self, channel: &Channel, last: impl FnOnce()) {
        self.channels.let_go(channel, WATCHED, last);
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
        let mut stripe = self.patterns.lock(pattern);
        *stripe.entry(pattern.clone()).or_default() += 1;
        drop(stripe);
        self.hold_any((shard, NO_DIALECT), first)
    }

    /// Removes a subscription to `pattern` from the count. `last` runs under the lock if the node has no pattern left.
    pub fn release_pattern(&self, pattern: &Pattern, shard: usize, last: impl FnOnce()) {
        if !self.release_any((shard, NO_DIALECT), last) {
            return;
        }
        let mut stripe = self.patterns.lock(pattern);
        if let Some(subscriptions) = stripe.get_mut(&**pattern) {
            *subscriptions -= 1;
            if *subscriptions == 0 {
                forget(&mut stripe, pattern);
            }
        }
    }

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

    /// Returns the shards that may have receivers of an event on `channel`: with a subscriber, or with any pattern.
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
        let held = |channel: &Channel, held: &Held<T>| (channel.clone(), held.connections());
        let mut all = self.channels.collect(held);
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
