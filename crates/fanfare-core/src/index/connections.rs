//! A set of connections that takes little memory for a few, and is fast for ten thousand.

use std::hash::Hash;

use ahash::AHashMap;
use smart_default::SmartDefault;

use crate::{memory::shrink_if_sparse, mostly_one::MostlyOne};

/// The maximum size of a set without an index.
const MAX_FEW: usize = 32;

/// A set of connections as one slice, in the order in which they were added while there are few. With an index, a
/// removal moves the last connection into the gap, so its cost does not depend on the size.
#[derive(Debug, SmartDefault)]
pub(super) enum Connections<K> {
    #[default]
    Few(MostlyOne<K>),
    Many(Box<IndexedConnections<K>>),
}

#[derive(Debug)]
pub(super) struct IndexedConnections<K> {
    list: Vec<K>,
    positions: AHashMap<K, u32>,
}

impl<K: Copy + Eq + Hash> Connections<K> {
    pub(super) fn add(&mut self, connection: K) -> bool {
        if self.contains(connection) {
            return false;
        }
        match self {
            Self::Few(few) => {
                few.push(connection);
                if few.as_slice().len() > MAX_FEW {
                    *self = Self::Many(Box::new(IndexedConnections::new(few.as_slice())));
                }
            }
            Self::Many(many) => many.add(connection),
        }
        true
    }

    pub(super) fn remove(&mut self, connection: K) -> bool {
        match self {
            Self::Few(few) => {
                let at = few.as_slice().iter().position(|other| *other == connection);
                at.map(|at| few.remove(at)).is_some()
            }
            Self::Many(many) => {
                let was_there = many.remove(connection);
                // Half the maximum, so that a connection that opens and closes repeatedly does not rebuild the index each time.
                if many.list.len() < MAX_FEW / 2 {
                    *self = Self::Few(many.list.clone().into());
                }
                was_there
            }
        }
    }

    pub(super) fn contains(&self, connection: K) -> bool {
        match self {
            Self::Few(few) => few.as_slice().contains(&connection),
            Self::Many(many) => many.positions.contains_key(&connection),
        }
    }

    pub(super) fn as_slice(&self) -> &[K] {
        match self {
            Self::Few(few) => few.as_slice(),
            Self::Many(many) => &many.list,
        }
    }
}

impl<K: Copy + Eq + Hash> IndexedConnections<K> {
    fn new(list: &[K]) -> Self {
        let positions = list.iter().copied().zip(0..).collect();
        let list = list.to_vec();
        Self { list, positions }
    }

    fn add(&mut self, connection: K) {
        let at = u32::try_from(self.list.len()).unwrap_or(u32::MAX); // no node has so many
        self.positions.insert(connection, at);
        self.list.push(connection);
    }

    fn remove(&mut self, connection: K) -> bool {
        let Some(at) = self.positions.remove(&connection) else {
            return false;
        };
        self.list.swap_remove(at as usize);
        if let Some(moved) = self.list.get(at as usize) {
            self.positions.insert(*moved, at);
        }
        shrink_if_sparse(&mut self.positions);
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to_fit();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_connections_keep_their_order() {
        let mut few = Connections::default();
        for (connection, is_new) in [(1, true), (2, true), (3, true), (2, false)] {
            assert_eq!(few.add(connection), is_new, "{connection}");
        }
        for (connection, was_there) in [(2, true), (2, false), (9, false)] {
            assert_eq!(few.remove(connection), was_there, "{connection}");
        }
        assert_eq!(few.as_slice(), [1, 3]);
    }

    #[test]
    fn many_connections_are_added_and_removed() {
        let mut many = Connections::default();
        assert!((0..10_000).all(|connection| many.add(connection)));
        assert!(!many.add(5_000));
        assert_eq!(many.as_slice().len(), 10_000);
        for leaving in 0..9_990 {
            assert!(many.remove(leaving) && !many.contains(leaving), "{leaving}");
            assert!(!many.remove(leaving), "{leaving}");
        }
        let mut left = many.as_slice().to_vec();
        left.sort_unstable();
        assert_eq!(left, (9_990..10_000).collect::<Vec<_>>());
        assert!(matches!(many, Connections::Few(_)));
        assert!(many.add(1) && many.contains(9_999));
    }

    #[test]
    fn a_set_is_two_words() {
        assert_eq!(size_of::<Connections<[u32; 2]>>(), 16);
    }
}
