//! A map for all shards of a node, in many parts with a lock each, so that shards rarely wait for one another.

use std::{
    borrow::Borrow,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ahash::{AHashMap, RandomState};

use crate::memory::give_back;

/// Enough that two cores rarely meet at one lock.
const STRIPES: usize = 64;

/// Values by name. What belongs to one name is under one lock.
#[derive(Debug)]
pub struct Striped<N, V> {
    hasher: RandomState,
    stripes: Vec<Mutex<Stripe<N, V>>>,
}

/// One part, as it is seen under its lock.
pub type Stripe<N, V> = AHashMap<N, V>;

impl<N, V> Default for Striped<N, V> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }
}

impl<N: Eq + Hash + Borrow<str>, V> Striped<N, V> {
    /// Locks the part that `name` belongs to.
    pub fn lock(&self, name: &str) -> MutexGuard<'_, Stripe<N, V>> {
        let at = usize::try_from(self.hasher.hash_one(name) % STRIPES as u64).unwrap_or(0);
        locked(&self.stripes[at])
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.stripes.iter().map(|stripe| locked(stripe).len()).sum()
    }

    /// What `entry` makes of every name, in no order. The parts are locked one after the other, so that what comes and
    /// goes meanwhile may or may not be among them.
    pub fn collect<R>(&self, entry: impl Fn(&N, &V) -> R) -> Vec<R> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            all.extend(locked(stripe).iter().map(|(name, value)| entry(name, value)));
        }
        all
    }
}

/// Drops `name` from its part and gives memory back.
pub fn forget<N: Eq + Hash + Borrow<str>, V>(stripe: &mut Stripe<N, V>, name: &str) {
    stripe.remove(name);
    give_back(stripe);
}

/// A panic under a lock leaves counts that are off by one at most; going on beats taking the node down.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
