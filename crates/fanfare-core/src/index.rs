//! Who listens, on one shard.

use std::hash::Hash;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::UserId;

/// Finds a shard's connections by what they listen to; `K` names a connection there.
///
/// A look-up is one hash. Most users have one or two connections, so those are kept in place.
#[derive(Debug)]
pub struct SubscriptionIndex<K> {
    users: AHashMap<UserId, SmallVec<[K; 2]>>,
}

impl<K> Default for SubscriptionIndex<K> {
    fn default() -> Self {
        Self {
            users: AHashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> SubscriptionIndex<K> {
    /// `connection` proved to be `user`.
    pub fn add_user(&mut self, user: &UserId, connection: K) {
        let connections = self.users.entry(user.clone()).or_default();
        if !connections.contains(&connection) {
            connections.push(connection);
        }
    }

    /// `connection` is gone or no longer that user.
    pub fn remove_user(&mut self, user: &UserId, connection: K) {
        if let Some(connections) = self.users.get_mut(user) {
            connections.retain(|other| *other != connection);
            if connections.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// The connections of `user`, in the order they came.
    pub fn user(&self, user: &str) -> &[K] {
        self.users.get(user).map_or(&[], SmallVec::as_slice)
    }

    /// Gives memory back after many have left.
    pub fn shrink(&mut self) {
        if self.users.capacity() > 64 && self.users.len() * 4 < self.users.capacity() {
            let size = self.users.len() * 2;
            self.users.shrink_to(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_and_go() {
        let alice = UserId::new("alice").expect("a name");
        let mut index = SubscriptionIndex::<u32>::default();
        assert_eq!(index.user("alice"), &[] as &[u32]);
        index.add_user(&alice, 1);
        index.add_user(&alice, 2);
        index.add_user(&alice, 1);
        assert_eq!(index.user("alice"), &[1, 2]);
        index.remove_user(&alice, 1);
        index.remove_user(&alice, 7);
        assert_eq!(index.user("alice"), &[2]);
        index.remove_user(&alice, 2);
        assert!(index.users.is_empty());
    }
}
