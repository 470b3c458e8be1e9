//! Counts the interests of one node's connections, over all its shards.

mod held;
mod shards;
#[cfg(test)]
mod tests;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use self::held::{Held, ShardAndDialect, WATCHER};
pub use self::shards::ShardSet;
use crate::{
    Channel, Interest, Pattern, UserId,
    striped::{Striped, forget, locked},
};

/// The numbers of connections of each shard on each user and channel. So an event is delivered only to shards with a
/// receiver, and the node requests from the broker only events for its connections. `T` is the broker's answer to the
/// first request; each further connection gets a copy.
///
/// Patterns are counted together. A node with a pattern requests all channels, and a shard with one gets the events of
/// all channels, because only the shard's index finds the patterns that match.
#[derive(Debug)]
pub struct Interests<T> {
    users: Striped<UserId, Held<T>>,
    users_per_dialect: Vec<AtomicU64>,
    channels: Striped<Channel, Held<T>>,
    channel_subscriptions: AtomicU64,
    /// The subscriptions to each pattern, for the metrics.
    patterns: Striped<Pattern, usize>,
    any_pattern: Mutex<Option<Held<T>>>,
    /// The shards with patterns, to read them without the lock.
    pattern_shards: AtomicU64,
}

/// The user has its maximum of connections in a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has too many connections")]
pub struct UserAtCapacity;

// Channels are not counted by dialect: all their subscriptions have this one.
const NO_DIALECT: usize = 0;

impl<T: Clone> Interests<T> {
    /// Returns the interests of a node with this number of dialects and no connection.
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

    /// Adds a connection of `user`. `first` is called under the lock if it is the user's first on the node, so that its
    /// request to the broker and that of [`Interests::release_user`] keep their order.
    ///
    /// # Errors
    /// If the user already has `max` connections in this dialect (0 for no limit).
    pub fn acquire_user(
        &self,
        user: &UserId,
        (shard, dialect): (usize, usize),
        max: usize,
        first: impl FnOnce() -> T,
    ) -> Result<T, UserAtCapacity> {
        let mut stripe = self.users.lock(user);
        let held = stripe.get(&**user);
        if max > 0 && held.is_some_and(|held| held.connections_in(dialect) >= max) {
            return Err(UserAtCapacity);
        }
        let held = stripe.entry(user.clone()).or_insert_with(|| Held::new(first()));
        if held.connections_in(dialect) == 0 {
            self.users_per_dialect[dialect].fetch_add(1, Ordering::Relaxed);
        }
        Ok(held.add((shard, dialect)))
    }

    /// Removes a connection of `user`. `last` is called under the lock if it was the user's last on the node.
    pub fn release_user(&self, user: &UserId, (shard, dialect): (usize, usize), last: impl FnOnce()) {
        if self.users.release(user, (shard, dialect), last) == Some(0) {
            self.users_per_dialect[dialect].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Adds a connection of `shard` to `channel`, with `first` as in [`Interests::acquire_user`].
    pub fn acquire_channel(&self, channel: &Channel, shard: usize, first: impl FnOnce() -> T) -> T {
        let answer = self.channels.acquire(channel, (shard, NO_DIALECT), first);
        self.channel_subscriptions.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// Removes a connection of `shard` from `channel`. `last` is called under the lock if it was the last on the node.
    pub fn release_channel(&self, channel: &Channel, shard: usize, last: impl FnOnce()) {
        if self
            .channels
            .release(channel, (shard, NO_DIALECT), last)
            .is_some()
        {
            self.channel_subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Adds a subscription of `shard` to `pattern`. `first` is called under the lock if the node had no pattern.
    pub fn acquire_pattern(&self, pattern: &Pattern, shard: usize, first: impl FnOnce() -> T) -> T {
        *self.patterns.lock(pattern).entry(pattern.clone()).or_default() += 1;
        self.acquire_any((shard, NO_DIALECT), first)
    }

    /// Removes a subscription of `shard` to `pattern`. `last` is called under the lock if the node has no pattern left.
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

    /// Acquires `interest` for a watcher, which does not count as a connection. `first` is called under the lock if it is
    /// the first holder.
    pub fn watch(&self, interest: &Interest, first: impl FnOnce() -> T) -> T {
        match interest {
            Interest::User(user) => self.users.acquire(user, WATCHER, first),
            Interest::Channel(channel) => self.channels.acquire(channel, WATCHER, first),
            Interest::AllChannels => self.acquire_any(WATCHER, first),
        }
    }

    /// Releases `interest` for a watcher. `last` is called under the lock if it was the last holder.
    pub fn unwatch(&self, interest: &Interest, last: impl FnOnce()) {
        match interest {
            Interest::User(user) => drop(self.users.release(user, WATCHER, last)),
            Interest::Channel(channel) => drop(self.channels.release(channel, WATCHER, last)),
            Interest::AllChannels => drop(self.release_any(WATCHER, last)),
        }
    }

    fn acquire_any(&self, place: ShardAndDialect, first: impl FnOnce() -> T) -> T {
        let mut any = locked(&self.any_pattern);
        let held = any.get_or_insert_with(|| Held::new(first()));
        let answer = held.add(place);
        self.pattern_shards.store(held.shards().bits(), Ordering::Release);
        answer
    }

    /// Releases the interest in all channels for a holder in `place`. Returns `true` if there was one.
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

    /// Returns the shards with a connection of `user`, and the first shard for a watcher.
    pub fn shards_of_user(&self, user: &str) -> ShardSet {
        let stripe = self.users.lock(user);
        stripe.get(user).map(Held::shards).unwrap_or_default()
    }

    /// Returns the shards that may have receivers of an event on `channel`: those with a subscriber or a pattern.
    pub fn shards_of_channel(&self, channel: &str) -> ShardSet {
        let exact = self.channels.lock(channel).get(channel).map(Held::shards);
        exact.unwrap_or_default() | ShardSet::from_bits(self.pattern_shards.load(Ordering::Acquire))
    }

    /// Returns the number of connections of `user` on this node, in all dialects.
    pub fn connections_of_user(&self, user: &str) -> usize {
        self.users.lock(user).get(user).map_or(0, Held::connections)
    }

    /// Returns the number of subscribers of exactly `channel`.
    pub fn connections_of_channel(&self, channel: &str) -> usize {
        let stripe = self.channels.lock(channel);
        stripe.get(channel).map_or(0, Held::connections)
    }

    /// Returns the users with a connection, in any order.
    pub fn users(&self) -> Vec<UserId> {
        let held = |user: &UserId, held: &Held<T>| (held.connections() > 0).then(|| user.clone());
        self.users.collect(held).into_iter().flatten().collect()
    }

    /// Returns the number of different users of `dialect` on this node.
    pub fn users_in(&self, dialect: usize) -> u64 {
        self.users_per_dialect[dialect].load(Ordering::Relaxed)
    }

    /// Returns the channels with subscribers, and the number of these, in any order.
    pub fn channels(&self) -> Vec<(Channel, usize)> {
        let held = |channel: &Channel, held: &Held<T>| (channel.clone(), held.connections());
        let mut all = self.channels.collect(held);
        all.retain(|(_, subscribers)| *subscribers > 0); // the others are only watched
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
