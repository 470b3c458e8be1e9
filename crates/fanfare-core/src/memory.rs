//! Memory given back by maps that have become much smaller.

use std::collections::HashMap;

/// Below this many entries there is nothing worth giving back.
const SMALL: usize = 64;

/// Shrinks `map` when it is three quarters empty. Called after each removal it costs, over all of them, next to nothing.
pub fn give_back<K: Eq + std::hash::Hash, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > SMALL && map.len() * 4 < map.capacity() {
        let size = map.len() * 2;
        map.shrink_to(size);
    }
}
