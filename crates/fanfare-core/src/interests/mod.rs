//! The users, channels and patterns that this node's connections need, over all shards.

mod held;
mod shards;
#[cfg(test)]
mod tests;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use self::held::{Held, ShardAndDialect, WATCHED};
pub use self::shards::ShardSet;
use crate::{
    Channel, Interest, Pattern, UserId,
    striped::{Striped, forget, locked},
};

/// Counts the connections of each shard on each user and channel: a publish goes only to shards with a receiver, and the node
/// requests from the broker only what a connection needs. `T` is the broker's answer to the first request; each further
/// connection waits for a copy.
///
/// Patterns are counted together: a node with any pattern requests every channel, and a shard with any receives every
/// channel's events, because only its own index knows which match.
#[derive(Debug)]
pub struct Interests<T> {
    users: Striped<UserId, Held<T>>,
    users_per_dialect: Vec<AtomicU64>,
    channels: Striped<Channel, Held<T>>,
    channel_subscriptions: AtomicU64,
    /// Subscriptions to each pattern, for the metrics.
    patterns: Striped<Pattern, usize>,
    any_pattern: Mutex<Option<Held<T>>>,
    /// The shards with patterns, readable without the lock.
    pattern_shards: AtomicU64,
}

/// The user has its maximum of connections in that dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has too many connections")]
pub struct UserFull;

// Channels are not counted by dialect; every subscription counts as one of this.
const NO_DIALECT: usize = 0;

impl<T: Clone> Interests<T> {
    /// Returns empty counts for this number of dialects.
    pub fn new(dialects: usize) -> Self {
        Self {
            users: Striped::default(),
            users_per_dialect: (0..dialects).map(|_| AtomicU64::new(0)).collect(),
            channels: Striped::default(),
            channel_subscriptions: AtomicU64::default(),
            patterns: Striped::default(),
            any_pattern: Mutex::default(),
            pattern_shards: AtomicU64::default(),
        }
    }

    /// Counts one more connection of `user`. `first` runs under the lock if it is the user's first on the node,
    /// so that its request to the broker and that of [`Interests::release_user`] keep their order.
    ///
    /// # Errors
    /// If the user has `most` connections in this dialect already (0 for no limit).
    pub fn acquire_user(
        &self,
        user: &UserId,
        (shard, dialect): (usize, usize),
        most: usize,
        first: impl FnOnce() -> T,
    ) -> Result<T, UserFull> {
        let mut stripe = self.users.lock(user);
        let held = stripe.get(&**user);
        if most > 0 && held.is_some_and(|held| held.connections_in(dialect) >= most) {
            return Err(UserFull);
        }
        let held = stripe.entry(user.clone()).or_insert_with(|| Held::new(first()));
        if held.connections_in(dialect) == 0 {
            self.users_per_dialect[dialect].fetch_add(1, Ordering::Relaxed);
        }
        Ok(held.add((shard, dialect)))
    }

    /// Removes one connection of `user` from the count. `last` runs under the lock if it was the last on the node.
    pub fn release_user(&self, user: &UserId, (shard, dialect): (usize, usize), last: impl FnOnce()) {
        if self.users.let_go(user, (shard, dialect), last) == Some(0) {
            self.users_per_dialect[dialect].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts one more connection of `shard` on `channel`; `first` is as in [`Interests::acquire_user`].
    pub fn acquire_channel(&self, channel: &Channel, shard: usize, first: impl FnOnce() -> T) -> T {
        let placed = self.channels.hold(channel, (shard, NO_DIALECT), first);
        self.channel_subscriptions.fetch_add(1, Ordering::Relaxed);
        placed
    }

    /// Removes one connection of `shard` from the count of `channel`. `last` runs under the lock if it was the last
    /// one.
    pub fn release_channel(&self, channel: &Channel, shard: usize, last: impl FnOnce()) {
        if self.channels.let_go(channel, (shard, NO_DIALECT), last).is_some() {
            self.channel_subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts a subscription of `shard` to `pattern`. `first` runs under the lock if the node had no pattern.
    pub fn acquire_pattern(&self, pattern: &Pattern, shard: usize, first: impl FnOnce() -> T) -> T {
        *self.patterns.lock(pattern).entry(pattern.clone()).or_default() += 1;
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

    /// Holds `interest` for a watcher, which counts as no connection. `first` runs under the lock if nothing held it.
    pub fn watch(&self, interest: &Interest, first: impl FnOnce() -> T) -> T {
        match interest {
            Interest::User(user) => self.users.hold(user, WATCHED, first),
            Interest::Channel(channel) => self.channels.hold(channel, WATCHED, first),
            Interest::AllChannels => self.hold_any(WATCHED, first),
        }
    }

    /// Releases the hold of [`Interests::watch`]. `last` runs under the lock if nothing holds `interest` any more.
    pub fn unwatch(&self, interest: &Interest, last: impl FnOnce()) {
        match interest {
            Interest::User(user) => drop(self.users.let_go(user, WATCHED, last)),
            Interest::Channel(channel) => drop(self.channels.let_go(channel, WATCHED, last)),
            Interest::AllChannels => drop(self.release_any(WATCHED, last)),
        }
    }

    fn hold_any(&self, place: ShardAndDialect, first: impl FnOnce() -> T) -> T {
        let mut any = locked(&self.any_pattern);
        let held = any.get_or_insert_with(|| Held::new(first()));
        let placed = held.add(place);
        self.pattern_shards.store(held.shards().bits(), Ordering::Release);
        placed
    }

    /// Releases the hold of [`Interests::hold_any`]; returns whether `place` had one.
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

    /// Returns the shards with a connection of `user`, and one more for a watcher.
    pub fn shards_of_user(&self, user: &str) -> ShardSet {
        let stripe = self.users.lock(user);
        stripe.get(user).map(Held::shards).unwrap_or_default()
    }

    /// Returns the shards that may have receivers of an event on `channel`: with a subscriber, or with any pattern.
    pub fn shards_of_channel(&self, channel: &str) -> ShardSet {
        let exact = self.channels.lock(channel).get(channel).map(Held::shards);
        exact.unwrap_or_default() | ShardSet::from_bits(self.pattern_shards.load(Ordering::Acquire))
    }

    /// Returns the number of connections of `user` on this node, in all dialects.
    pub fn connections_of_user(&self, user: &str) -> usize {
        self.users.lock(user).get(user).map_or(0, Held::connections)
    }

    /// Returns the number of connections subscribed to exactly `channel`.
    pub fn connections_of_channel(&self, channel: &str) -> usize {
        let stripe = self.channels.lock(channel);
        stripe.get(channel).map_or(0, Held::connections)
    }

    /// Returns every user with a connection, in any order.
    pub fn users(&self) -> Vec<UserId> {
        let held = |user: &UserId, held: &Held<T>| (held.connections() > 0).then(|| user.clone());
        self.users.collect(held).into_iter().flatten().collect()
    }

    /// Returns the number of different users of `dialect` on this node.
    pub fn users_in(&self, dialect: usize) -> u64 {
        self.users_per_dialect[dialect].load(Ordering::Relaxed)
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
    pub fn channel_subscriptions(&self) -> u64 {
        self.channel_subscriptions.load(Ordering::Relaxed)
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
