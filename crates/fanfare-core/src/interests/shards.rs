//! A set of shards.

use std::ops::BitOr;

/// A set of shards, by their numbers. A node has at most 64 shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    /// Returns the first `count` shards.
    pub fn first(count: usize) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    /// Returns `true` if the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of shards.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns `true` if `shard` is in the set.
    pub fn contains(self, shard: usize) -> bool {
        self.0 >> shard & 1 == 1
    }

    pub(super) fn insert(&mut self, shard: usize) {
        self.0 |= 1 << shard;
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl BitOr for ShardSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_sets_are_united() {
        assert_eq!(ShardSet::first(2), ShardSet(0b11));
        assert_eq!(ShardSet::first(64).len(), 64);
        assert!(ShardSet::first(0).is_empty());
        assert_eq!(ShardSet(0b10) | ShardSet(0b11), ShardSet(0b11));
    }
}
