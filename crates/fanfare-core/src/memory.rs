//! Releases the memory of maps that have become much smaller.

use std::collections::HashMap;

const SMALL: usize = 64;

/// Shrinks `map` if it is three quarters empty. Called after each removal, its amortised cost is negligible.
pub fn give_back<K: Eq + std::hash::Hash, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > SMALL && map.len() * 4 < map.capacity() {
        let size = map.len() * 2;
        map.shrink_to(size);
    }
}
