//! A set of connections, small for the usual one and fast for ten thousand.

use std::hash::Hash;

use ahash::AHashMap;
use smart_default::SmartDefault;

use crate::{memory::give_back, mostly_one::MostlyOne};

/// From this size on, a map finds a connection's position; below it, a scan does.
const CROWD: usize = 32;

/// A set of connections that is read as one slice, in order of arrival while it is small. In a large set, a removal
/// moves the last connection into the gap, so that it costs the same at any size.
#[derive(Debug, SmartDefault)]
pub(super) enum Connections<K> {
    #[default]
    Few(MostlyOne<K>),
    Crowd(Box<Crowd<K>>),
}

#[derive(Debug)]
pub(super) struct Crowd<K> {
    list: Vec<K>,
    places: AHashMap<K, u32>,
}

impl<K: Copy + Eq + Hash> Connections<K> {
    pub(super) fn add(&mut self, connection: K) -> bool {
        if self.contains(connection) {
            return false;
        }
        match self {
            Self::Few(few) => {
                few.push(connection);
                if few.as_slice().len() > CROWD {
                    *self = Self::Crowd(Box::new(Crowd::new(few.as_slice())));
                }
            }
            Self::Crowd(crowd) => crowd.add(connection),
        }
        true
    }

    pub(super) fn remove(&mut self, connection: K) -> bool {
        match self {
            Self::Few(few) => {
                let at = few.as_slice().iter().position(|other| *other == connection);
                at.map(|at| few.remove(at)).is_some()
            }
            Self::Crowd(crowd) => {
                let was_there = crowd.remove(connection);
                // Only at half the threshold, so that a connection that opens and closes repeatedly does not rebuild the map each
                // time.
                if crowd.list.len() < CROWD / 2 {
                    *self = Self::Few(crowd.list.clone().into());
                }
                was_there
            }
        }
    }

    pub(super) fn contains(&self, connection: K) -> bool {
        match self {
            Self::Few(few) => few.as_slice().contains(&connection),
            Self::Crowd(crowd) => crowd.places.contains_key(&connection),
        }
    }

    pub(super) fn as_slice(&self) -> &[K] {
        match self {
            Self::Few(few) => few.as_slice(),
            Self::Crowd(crowd) => &crowd.list,
        }
    }
}

impl<K: Copy + Eq + Hash> Crowd<K> {
    fn new(list: &[K]) -> Self {
        let places = list.iter().copied().zip(0..).collect();
        let list = list.to_vec();
        Self { list, places }
    }

    fn add(&mut self, connection: K) {
        let at = u32::try_from(self.list.len()).unwrap_or(u32::MAX); // no node has so many
        self.places.insert(connection, at);
        self.list.push(connection);
    }

    fn remove(&mut self, connection: K) -> bool {
        let Some(at) = self.places.remove(&connection) else {
            return false;
        };
        self.list.swap_remove(at as usize);
        if let Some(moved) = self.list.get(at as usize) {
            self.places.insert(*moved, at);
        }
        give_back(&mut self.places);
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
        assert!(matches!(crowd, Connections::Few(_)));
        assert!(crowd.add(1) && crowd.contains(9_999));
    }

    #[test]
    fn a_set_is_two_words() {
        assert_eq!(size_of::<Connections<[u32; 2]>>(), 16);
    }
}
