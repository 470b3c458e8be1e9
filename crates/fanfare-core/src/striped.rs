//! A map that all shards of a node share, in parts with a lock each, so that shards rarely wait for each other.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ahash::AHashMap;
use rustc_hash::FxBuildHasher;
use smart_default::SmartDefault;

use crate::memory::give_back;

/// Enough parts that two cores rarely need one lock.
const STRIPES: usize = 64;

/// Values by name. Everything of one name is under one lock.
#[derive(Debug, SmartDefault)]
pub struct Striped<N, V> {
    #[default((0..STRIPES).map(|_| Mutex::default()).collect())]
    stripes: Vec<Mutex<Stripe<N, V>>>,
}

/// One part, locked.
pub type Stripe<N, V> = AHashMap<N, V>;

impl<N: Eq + Hash + Borrow<str>, V> Striped<N, V> {
    /// Locks the part of `name`.
    pub fn lock(&self, name: &str) -> MutexGuard<'_, Stripe<N, V>> {
        // Not the maps' hash: names that were chosen to share a part would only wait for one lock.
        let hash = FxBuildHasher.hash_one(name) % STRIPES as u64;
        let at = usize::try_from(hash).unwrap_or(0);
        locked(&self.stripes[at])
    }

    /// Returns the number of names.
    pub fn count(&self) -> usize {
        self.stripes.iter().map(|stripe| locked(stripe).len()).sum()
    }

    /// Maps every name with `entry`, in any order. The parts are locked one after the other: changed names may be
    /// missing.
    pub fn collect<R>(&self, entry: impl Fn(&N, &V) -> R) -> Vec<R> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            all.extend(locked(stripe).iter().map(|(name, value)| entry(name, value)));
        }
        all
    }
}

/// Removes `name` from its part and releases memory.
pub fn forget<N: Eq + Hash + Borrow<str>, V>(stripe: &mut Stripe<N, V>, name: &str) {
    stripe.remove(name);
    give_back(stripe);
}

/// A panic under a lock leaves counts that are off by at most one, which is better than ending the node.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
