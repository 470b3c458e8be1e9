//! The users with connections on this node, over all shards.

mod channels;
mod held;
mod shards;

use std::sync::atomic::{AtomicU64, Ordering};

use self::held::{Held, WATCHED};
pub use self::{channels::ChannelInterests, shards::ShardSet};
use crate::{UserId, striped::Striped};

/// Counts, per user, the connections of each shard and dialect: a publish goes only to shards with a receiver, and the
/// node asks the broker only for users with a connection. `T` is the broker's answer to the user's first connection;
/// each further one waits for a copy.
#[derive(Debug)]
pub struct Interests<T> {
    users: Striped<UserId, Held<T>>,
    users_per_dialect: Vec<AtomicU64>,
}

/// The user has its maximum of connections in that dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has too many connections")]
pub struct UserFull;

impl<T: Clone> Interests<T> {
    /// Returns counts without any user. `dialects` is the number of dialects.
    pub fn new(dialects: usize) -> Self {
        Self {
            users: Striped::default(),
            users_per_dialect: (0..dialects).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one more connection of `user`. `first` runs under the lock if it is the user's first on the node,
    /// so that its request to the broker and that of [`Interests::release`] keep their order.
    ///
    /// # Errors
    /// If the user has `most` connections in this dialect already (0 for no limit).
    pub fn acquire(
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
    pub fn release(&self, user: &UserId, (shard, dialect): (usize, usize), last: impl FnOnce()) {
        if self.users.let_go(user, (shard, dialect), last) == Some(0) {
            self.users_per_dialect[dialect].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Holds `user` for a watcher, which counts as no connection. `first` runs under the lock if nothing held it yet.
    pub fn watch(&self, user: &UserId, first: impl FnOnce() -> T) -> T {
        self.users.hold(user, WATCHED, first)
    }

    /// Releases the hold of [`Interests::watch`]. `last` runs under the lock if nothing holds the user any more.
    pub fn unwatch(&self, user: &UserId, last: impl FnOnce()) {
        self.users.let_go(user, WATCHED, last);
    }

    /// Returns the shards with a connection of `user`, and one more for a watcher.
    pub fn shards_of(&self, user: &str) -> ShardSet {
        let stripe = self.users.lock(user);
        stripe.get(user).map(Held::shards).unwrap_or_default()
    }

    /// Returns the number of connections of `user` on this node, in all dialects.
    pub fn connections_of(&self, user: &str) -> usize {
        let stripe = self.users.lock(user);
        stripe.get(user).map_or(0, Held::connections)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_connection_are_reported() {
        let interests = Interests::new(2);
        let alice = UserId::new("alice").expect("a name");
        let acquire = |place, word| interests.acquire(&alice, place, 0, || word);
        assert_eq!(acquire((0, 0), "first"), Ok("first"));
        assert_eq!(acquire((3, 1), "second"), Ok("first"));
        assert_eq!(acquire((3, 1), "third"), Ok("first"));
        let shards = interests.shards_of("alice");
        assert_eq!(
            (
                shards.len(),
                shards.contains(0),
                shards.contains(1),
                shards.contains(3)
            ),
            (2, true, false, true)
        );
        assert_eq!((interests.users_in(0), interests.users_in(1)), (1, 1));
        assert_eq!(interests.connections_of("alice"), 3);

        let mut released = 0;
        for (place, expected) in [((3, 1), 0), ((0, 0), 0), ((0, 0), 0), ((3, 1), 1)] {
            interests.release(&alice, place, || released += 1);
            assert_eq!(released, expected);
        }
        assert!(interests.shards_of("alice").is_empty() && interests.users().is_empty());
        assert_eq!((interests.users_in(0), interests.users_in(1)), (0, 0));
    }

    #[test]
    fn watchers_hold_a_user_and_count_as_no_connection() {
        let interests = Interests::new(1);
        let alice = UserId::new("alice").expect("a name");
        assert_eq!(interests.watch(&alice, || "asked"), "asked");
        assert_eq!(interests.acquire(&alice, (0, 0), 1, || "again"), Ok("asked"));
        assert_eq!(
            (interests.connections_of("alice"), interests.users().len()),
            (1, 1)
        );
        let mut released = 0;
        interests.release(&alice, (0, 0), || released += 1);
        assert_eq!(
            (released, interests.connections_of("alice")),
            (0, 0),
            "it is watched"
        );
        assert!(interests.users().is_empty());
        interests.unwatch(&alice, || released += 1);
        interests.unwatch(&alice, || released += 1);
        assert_eq!(released, 1);
    }

    #[test]
    fn a_user_has_at_most_its_share_of_a_dialect() {
        let interests = Interests::new(2);
        let bob = UserId::new("bob").expect("a name");
        for (place, expected) in [
            ((0, 0), Ok(())),
            ((1, 0), Ok(())),
            ((1, 0), Err(UserFull)),
            ((1, 1), Ok(())),
        ] {
            assert_eq!(interests.acquire(&bob, place, 2, || ()), expected);
        }
        interests.release(&bob, (0, 0), || ());
        assert_eq!(interests.acquire(&bob, (1, 0), 2, || ()), Ok(()));
    }
}
