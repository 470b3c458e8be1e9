//! A set of connections, small for the usual two and fast for ten thousand.

use std::hash::Hash;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::memory::give_back;

/// From this size on, a map finds a connection's position; below it, a scan does.
const CROWD: usize = 32;

/// A set of connections that is read as one slice.
///
/// In order of arrival while it is small. In a large set, a removal moves the last connection into the gap, so
/// that it costs the same at any size.
#[derive(Debug)]
pub(super) struct Connections<K> {
    list: SmallVec<[K; 2]>,
    /// The position of each connection; only for a large set.
    places: Option<Box<AHashMap<K, usize>>>,
}

impl<K> Default for Connections<K> {
    fn default() -> Self {
        Self {
            list: SmallVec::new(),
            places: None,
        }
    }
}

impl<K: Copy + Eq + Hash> Connections<K> {
    /// Adds `connection`; returns whether it was new.
    pub(super) fn add(&mut self, connection: K) -> bool {
        if self.contains(connection) {
            return false;
        }
        if let Some(places) = &mut self.places {
            places.insert(connection, self.list.len());
        }
        self.list.push(connection);
        if self.places.is_none() && self.list.len() > CROWD {
            let places = self.list.iter().copied().zip(0..).collect();
            self.places = Some(Box::new(places));
        }
        true
    }

    /// Removes `connection`; returns whether it was there.
    pub(super) fn remove(&mut self, connection: K) -> bool {
        let Some(places) = &mut self.places else {
            let at = self.list.iter().position(|other| *other == connection);
            at.map(|at| self.list.remove(at));
            return at.is_some();
        };
        let Some(at) = places.remove(&connection) else {
            return false;
        };
        self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            places.insert(*moved, at);
        }
        give_back(places);
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to_fit();
        }
        // Only at half the threshold, so that a connection which comes and goes does not rebuild the map each
        // time.
        if self.list.len() < CROWD / 2 {
            self.places = None;
        }
        true
    }

    pub(super) fn contains(&self, connection: K) -> bool {
        match &self.places {
            Some(places) => places.contains_key(&connection),
            None => self.list.contains(&connection),
        }
    }

    pub(super) fn as_slice(&self) -> &[K] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_keep_their_order() {
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
    fn many_connections_subscribe_and_unsubscribe() {
        let mut crowd = Connections::default();
        assert!((0..10_000).all(|connection| crowd.add(connection)));
        assert!(!crowd.add(5_000));
        assert_eq!(crowd.as_slice().len(), 10_000);
        for leaving in 0..9_990 {
            assert!(crowd.remove(leaving) && !crowd.contains(leaving), "{leaving}");
            assert!(!crowd.remove(leaving), "{leaving}");
        }
        let mut left = crowd.as_slice().to_vec();
        left.sort_unstable();
        assert_eq!(left, (9_990..10_000).collect::<Vec<_>>());
        assert!(crowd.places.is_none() && crowd.list.capacity() < 100);
        assert!(crowd.add(1) && crowd.contains(9_999));
    }
}
