//! Who is held on this node, over all its shards.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use ahash::{AHashMap, RandomState};
use smallvec::SmallVec;

use crate::UserId;

/// Enough that two cores rarely meet at one lock.
const STRIPES: usize = 64;

/// A set of shards, by number. A node has at most 64 shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    /// The first `count` shards.
    pub fn first(count: usize) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    /// Whether nobody is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether `shard` is in it.
    pub fn contains(self, shard: usize) -> bool {
        self.0 >> shard & 1 == 1
    }

    fn insert(&mut self, shard: usize) {
        self.0 |= 1 << shard;
    }
}

/// Counts, per user, the connections of each shard and dialect, so that a publish goes only to the shards that hold a
/// receiver, and the broker is asked only for the users this node holds.
///
/// `T` is what the broker's answer to the first connection of a user was; every further one is given a copy, so that
/// it can wait for the same.
#[derive(Debug)]
pub struct Interests<T> {
    hasher: RandomState,
    stripes: Vec<Mutex<Stripe<T>>>,
    users_per_dialect: Vec<AtomicU64>,
}

type Stripe<T> = AHashMap<UserId, Held<T>>;

#[derive(Debug)]
struct Held<T> {
    placed: T,
    holders: Holders,
}

/// The user has as many connections in that dialect as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has too many connections")]
pub struct UserFull;

/// How many connections of one user each (shard, dialect) holds. Most users have one entry.
type Holders = SmallVec<[Holder; 1]>;

#[derive(Debug, Clone, Copy)]
struct Holder {
    shard: u8,
    dialect: u8,
    connections: u32,
}

impl<T: Clone> Interests<T> {
    /// Nobody is held yet. `dialects` is how many dialects there are.
    pub fn new(dialects: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            users_per_dialect: (0..dialects).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// One more connection of `user`. `first` runs when it is the node's first of that user, under the lock, so that
    /// what it asks of the broker and what [`Interests::release`] asks keep their order.
    ///
    /// # Errors
    /// When the user has `most` connections in this dialect already (0 for no limit).
    pub fn acquire(
        &self,
        user: &UserId,
        (shard, dialect): (usize, usize),
        most: usize,
        first: impl FnOnce() -> T,
    ) -> Result<T, UserFull> {
        let mut stripe = self.stripe(user);
        if most > 0
            && stripe
                .get(&**user)
                .is_some_and(|held| held.connections_in(dialect) >= most)
        {
            return Err(UserFull);
        }
        let held = stripe.entry(user.clone()).or_insert_with(|| Held {
            placed: first(),
            holders: Holders::new(),
        });
        if held.connections_in(dialect) == 0 {
            self.users_per_dialect[dialect].fetch_add(1, Ordering::Relaxed);
        }
        match held.holders.iter_mut().find(|holder| holder.is(shard, dialect)) {
            Some(holder) => holder.connections += 1,
            None => held.holders.push(Holder {
                shard: small(shard),
                dialect: small(dialect),
                connections: 1,
            }),
        }
        Ok(held.placed.clone())
    }

    /// One connection of `user` fewer. `last` runs, under the lock, when the node holds no other of that user.
    pub fn release(&self, user: &UserId, (shard, dialect): (usize, usize), last: impl FnOnce()) {
        let mut stripe = self.stripe(user);
        let Some(held) = stripe.get_mut(&**user) else {
            return;
        };
        let Some(at) = held.holders.iter().position(|holder| holder.is(shard, dialect)) else {
            return;
        };
        held.holders[at].connections -= 1;
        if held.holders[at].connections > 0 {
            return;
        }
        held.holders.swap_remove(at);
        if held.connections_in(dialect) == 0 {
            self.users_per_dialect[dialect].fetch_sub(1, Ordering::Relaxed);
        }
        if held.holders.is_empty() {
            stripe.remove(&**user);
            if stripe.capacity() > 64 && stripe.len() * 4 < stripe.capacity() {
                let size = stripe.len() * 2;
                stripe.shrink_to(size);
            }
            last();
        }
    }

    /// The shards that hold a connection of `user`.
    pub fn shards_of(&self, user: &str) -> ShardSet {
        let mut shards = ShardSet::default();
        if let Some(held) = self.stripe(user).get(user) {
            held.holders
                .iter()
                .for_each(|holder| shards.insert(holder.shard.into()));
        }
        shards
    }

    /// How many connections `user` has on this node, whatever their dialect.
    pub fn connections_of(&self, user: &str) -> usize {
        let stripe = self.stripe(user);
        stripe.get(user).map_or(0, |held| {
            held.holders
                .iter()
                .map(|holder| holder.connections as usize)
                .sum()
        })
    }

    /// Every user held, in no order.
    pub fn users(&self) -> Vec<UserId> {
        let locked = self
            .stripes
            .iter()
            .map(|stripe| stripe.lock().unwrap_or_else(PoisonError::into_inner));
        locked
            .flat_map(|stripe| stripe.keys().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// How many different users `dialect` holds on this node.
    pub fn users_in(&self, dialect: usize) -> u64 {
        self.users_per_dialect[dialect].load(Ordering::Relaxed)
    }

    fn stripe(&self, user: &str) -> MutexGuard<'_, Stripe<T>> {
        let at = usize::try_from(self.hasher.hash_one(user) % STRIPES as u64).unwrap_or(0);
        // A panic under the lock leaves counts that are off by one at most; going on beats taking the node down.
        self.stripes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Held<T> {
    fn connections_in(&self, dialect: usize) -> usize {
        let here = self
            .holders
            .iter()
            .filter(|holder| usize::from(holder.dialect) == dialect);
        here.map(|holder| holder.connections as usize).sum()
    }
}

impl Holder {
    fn is(self, shard: usize, dialect: usize) -> bool {
        usize::from(self.shard) == shard && usize::from(self.dialect) == dialect
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("at most 64 shards and 64 dialects")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_are_told() {
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

        let mut told = 0;
        for (place, expected) in [((3, 1), 0), ((0, 0), 0), ((0, 0), 0), ((3, 1), 1)] {
            interests.release(&alice, place, || told += 1);
            assert_eq!(told, expected);
        }
        assert!(interests.shards_of("alice").is_empty() && interests.users().is_empty());
        assert_eq!((interests.users_in(0), interests.users_in(1)), (0, 0));
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

    #[test]
    fn shard_sets() {
        assert_eq!(ShardSet::first(2), ShardSet(0b11));
        assert_eq!(ShardSet::first(64).len(), 64);
        assert!(ShardSet::first(0).is_empty());
    }
}
