//! A bounded cache that all threads share: if it is full, the least recently used entry is evicted.

use std::{
    hash::Hash,
    sync::{Mutex, MutexGuard},
};

use ahash::RandomState;
use fanfare_core::locked;
use hashlink::LruCache;

/// The most maps that the entries are spread over, so that threads seldom wait for each other.
const STRIPES: usize = 16;
/// The fewest entries of a map: a smaller one would evict entries that are used often.
const LEAST_PER_STRIPE: usize = 64;

pub(crate) struct SharedLru<K, V> {
    stripes: Box<[Mutex<Stripe<K, V>>]>,
    hasher: RandomState,
}

type Stripe<K, V> = LruCache<K, V, RandomState>;

impl<K: Hash + Eq, V: Clone> SharedLru<K, V> {
    /// Returns a cache of at most `most` entries. One of 0 caches nothing.
    pub(crate) fn new(most: usize) -> Self {
        let stripes = (most / LEAST_PER_STRIPE).clamp(1, STRIPES);
        let stripe = |_| Mutex::new(LruCache::with_hasher(most / stripes, RandomState::new()));
        Self {
            stripes: (0..stripes).map(stripe).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the value of `key`, if it is cached and `is_valid` accepts it. A value that it does not accept is removed.
    pub(crate) fn get(&self, key: &K, is_valid: impl FnOnce(&V) -> bool) -> Option<V> {
        let mut stripe = self.stripe(key);
        let value = stripe.get(key)?;
        if is_valid(value) {
            return Some(value.clone());
        }
        stripe.remove(key);
        None
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        self.stripe(&key).insert(key, value);
    }

    fn stripe(&self, key: &K) -> MutexGuard<'_, Stripe<K, V>> {
        // Not the maps' hash: the keys of one map would share bits of it.
        let hash = self.hasher.hash_one(key) % self.stripes.len() as u64;
        locked(&self.stripes[usize::try_from(hash).unwrap_or(0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entries_are_evicted() {
        for most in [2, 63, 64, 1000, 5000] {
            let cache = SharedLru::new(most);
            for key in 0..3 * most {
                cache.insert(key, key);
                assert_eq!(cache.get(&0, |_| true), Some(0), "{key} of {most}");
            }
            let cached = (0..3 * most).filter(|key| cache.get(key, |_| true).is_some());
            assert!((most / 2..=most).contains(&cached.count()), "{most}");
        }
    }

    #[test]
    fn a_value_that_is_not_valid_is_removed() {
        let cache = SharedLru::new(1);
        cache.insert("key", 1);
        assert_eq!(cache.get(&"key", |value| *value > 1), None);
        assert_eq!(cache.get(&"key", |_| true), None);
    }

    #[test]
    fn a_cache_of_none_caches_nothing() {
        let cache = SharedLru::new(0);
        cache.insert("key", 1);
        assert_eq!(cache.get(&"key", |_| true), None);
    }
}
