//! Frees the memory of maps that have become much smaller.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// The capacity up to which a map keeps its memory.
const SMALL: usize = 64;

/// Shrinks `map` if less than a quarter of it is used. After each removal, its amortised cost is negligible.
pub fn shrink_if_sparse<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > SMALL && map.len() * 4 < map.capacity() {
        let size = map.len() * 2;
        map.shrink_to(size);
    }
}
