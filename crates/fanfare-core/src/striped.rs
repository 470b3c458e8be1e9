//! A map that all shards of a node share. Its parts have a lock each, so shards rarely wait for each other.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ahash::AHashMap;
use rustc_hash::FxBuildHasher;
use smart_default::SmartDefault;

use crate::memory::shrink_if_sparse;

/// The number of parts, so large that two cores rarely need the same lock.
const STRIPES: usize = 64;

/// A map from names to values, in parts with a lock each.
#[derive(Debug, SmartDefault)]
pub struct Striped<N, V> {
    #[default((0..STRIPES).map(|_| Mutex::default()).collect())]
    stripes: Vec<Mutex<Stripe<N, V>>>,
}

/// One part of a [`Striped`].
pub type Stripe<N, V> = AHashMap<N, V>;

impl<N: Eq + Hash + Borrow<str>, V> Striped<N, V> {
    /// Locks the part of `name`.
    pub fn lock(&self, name: &str) -> MutexGuard<'_, Stripe<N, V>> {
        // A hash without a seed suffices: names that were chosen to share a part would only wait for one lock.
        let hash = FxBuildHasher.hash_one(name) % STRIPES as u64;
        let at = usize::try_from(hash).unwrap_or(0);
        locked(&self.stripes[at])
    }

    /// Returns the number of names.
    pub fn count(&self) -> usize {
        self.stripes.iter().map(|stripe| locked(stripe).len()).sum()
    }

    /// Returns `entry` of all names, in any order. It locks one part after the other, so names that change meanwhile may be
    /// missing.
    pub fn collect<R>(&self, entry: impl Fn(&N, &V) -> R) -> Vec<R> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            all.extend(locked(stripe).iter().map(|(name, value)| entry(name, value)));
        }
        all
    }
}

/// Removes `name` from its part, and frees memory.
pub fn forget<N: Eq + Hash + Borrow<str>, V>(stripe: &mut Stripe<N, V>, name: &str) {
    stripe.remove(name);
    shrink_if_sparse(stripe);
}

/// Locks `mutex`, even after a panic under the lock: a count that is wrong by one is better than the end of the node.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
