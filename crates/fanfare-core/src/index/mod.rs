//! Finds the connections of one shard that receive an event.

mod connections;
mod node;
mod segment_numbers;
mod trie;

use std::hash::Hash;

use ahash::{AHashMap, AHashSet};
use smallvec::SmallVec;
use smart_default::SmartDefault;

use self::{connections::Connections, trie::PatternTrie};
use crate::{Channel, Pattern, UserId, memory::shrink_if_sparse};

/// A shard's connections by user, channel and pattern; `K` identifies a connection. The look-up of a user or channel
/// costs one hash. Patterns cost almost nothing if none begins like the channel.
#[derive(Debug, SmartDefault)]
pub struct SubscriptionIndex<K> {
    users: AHashMap<UserId, Connections<K>>,
    channels: AHashMap<Channel, Connections<K>>,
    patterns: PatternTrie<Connections<K>>,
    subscriptions: usize,
}

impl<K: Copy + Eq + Hash> SubscriptionIndex<K> {
    /// Adds `connection` to those of `user`.
    pub fn add_user(&mut self, user: &UserId, connection: K) {
        self.users.entry(user.clone()).or_default().add(connection);
    }

    /// Removes `connection` from those of `user`.
    pub fn remove_user(&mut self, user: &UserId, connection: K) {
        remove_from(&mut self.users, user, connection);
    }

    /// Returns the connections of `user`: a few in the order in which they were added, many in any order.
    pub fn user(&self, user: &str) -> &[K] {
        self.users.get(user).map_or(&[], Connections::as_slice)
    }

    /// Subscribes `connection` to `channel`. Returns `true` if the subscription is new.
    pub fn add_channel(&mut self, channel: &Channel, connection: K) -> bool {
        let members = self.channels.entry(channel.clone()).or_default();
        let is_new = members.add(connection);
        self.subscriptions += usize::from(is_new);
        is_new
    }

    /// Unsubscribes `connection` from `channel`. Returns `true` if it was subscribed.
    pub fn remove_channel(&mut self, channel: &Channel, connection: K) -> bool {
        let was_there = remove_from(&mut self.channels, channel, connection);
        self.subscriptions -= usize::from(was_there);
        was_there
    }

    /// Subscribes `connection` to `pattern`. Returns `true` if the subscription is new.
    pub fn add_pattern(&mut self, pattern: &Pattern, connection: K) -> bool {
        let members = self.patterns.get_or_insert_with(pattern, Connections::default);
        let is_new = members.add(connection);
        self.subscriptions += usize::from(is_new);
        is_new
    }

    /// Unsubscribes `connection` from `pattern`. Returns `true` if it was subscribed.
    pub fn remove_pattern(&mut self, pattern: &Pattern, connection: K) -> bool {
        let Some(members) = self.patterns.get_mut(pattern) else {
            return false;
        };
        let was_there = members.remove(connection);
        self.subscriptions -= usize::from(was_there);
        if members.as_slice().is_empty() {
            self.patterns.remove(pattern);
        }
        was_there
    }

    /// Returns the subscribers of exactly `channel`, in the order of [`SubscriptionIndex::user`].
    pub fn channel_members(&self, channel: &str) -> &[K] {
        self.channels.get(channel).map_or(&[], Connections::as_slice)
    }

    /// Appends to `out` each connection with a pattern that matches `channel`, once, except those of
    /// [`SubscriptionIndex::channel_members`]. Both together are all receivers.
    pub fn pattern_members(&self, channel: &Channel, out: &mut impl Extend<K>) {
        let mut matching = SmallVec::<[&[K]; 8]>::new();
        self.patterns
            .matches(channel, |members| matching.push(members.as_slice()));
        let Some(largest) = matching.iter().map(|members| members.len()).max() else {
            return;
        };
        let exact = self.channels.get(&**channel);
        let is_exact = |connection: K| exact.is_some_and(|members| members.contains(connection));
        let candidates = matching.iter().copied().flatten().copied();
        let candidates = candidates.filter(|connection| !is_exact(*connection));
        if matching.len() == 1 {
            out.extend(candidates);
        } else {
            let mut seen = AHashSet::with_capacity(largest);
            out.extend(candidates.filter(|connection| seen.insert(*connection)));
        }
    }

    /// Returns `true` if a connection has a pattern.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Returns the number of different channels with subscribers.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Returns the number of different patterns with subscribers.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Returns the number of all subscriptions to channels and patterns.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Frees memory after the removal of many connections. Patterns free theirs at each removal.
    pub fn shrink(&mut self) {
        shrink_if_sparse(&mut self.users);
        shrink_if_sparse(&mut self.channels);
    }
}

fn remove_from<N, K>(index: &mut AHashMap<N, Connections<K>>, name: &N, connection: K) -> bool
where
    N: Eq + Hash,
    K: Copy + Eq + Hash,
{
    let Some(members) = index.get_mut(name) else {
        return false;
    };
    let was_there = members.remove(connection);
    if members.as_slice().is_empty() {
        index.remove(name);
    }
    was_there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::new(name).expect("a name")
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a pattern")
    }

    #[test]
    fn connections_of_a_user_are_added_and_removed() {
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

    #[test]
    fn subscriptions_are_added_and_removed() {
        let (general, any) = (channel("chat.general"), pattern("chat.*"));
        let mut index = SubscriptionIndex::<u32>::default();
        let counts = |index: &SubscriptionIndex<u32>| {
            assert_eq!(index.has_patterns(), index.patterns() > 0);
            (index.channels(), index.patterns(), index.subscriptions())
        };
        assert!(index.add_channel(&general, 1) && index.add_channel(&general, 2));
        assert!(index.add_pattern(&any, 1) && index.add_pattern(&any, 3));
        assert!(!index.add_channel(&general, 2) && !index.add_pattern(&any, 1));
        assert_eq!(counts(&index), (1, 1, 4));

        assert!(!index.remove_channel(&general, 3) && !index.remove_pattern(&any, 2));
        assert!(!index.remove_channel(&channel("x"), 1) && !index.remove_pattern(&pattern("x"), 1));
        assert_eq!(counts(&index), (1, 1, 4));

        assert!(index.remove_pattern(&any, 3) && index.remove_channel(&general, 1));
        assert_eq!(index.channel_members("chat.general"), [2]);
        assert!(index.remove_pattern(&any, 1) && index.remove_channel(&general, 2));
        assert_eq!(counts(&index), (0, 0, 0));
        assert_eq!(index.channel_members("chat.general"), &[] as &[u32]);
    }

    #[test]
    fn each_receiver_is_found_once() {
        let mut index = SubscriptionIndex::<u32>::default();
        index.add_channel(&channel("chat.general"), 1);
        for (text, connections) in [
            ("chat.*", vec![1, 2]),
            ("chat.**", vec![2, 3]),
            ("**", vec![1, 3, 4]),
            ("chat:*", vec![5]),
            ("news.**", vec![2, 6]),
        ] {
            for connection in connections {
                index.add_pattern(&pattern(text), connection);
            }
        }
        for (name, exact, by_pattern) in [
            ("chat.general", vec![1], vec![2, 3, 4]),
            ("chat.other", vec![], vec![1, 2, 3, 4]),
            ("chat.a.b", vec![], vec![1, 2, 3, 4]),
            ("chat:general", vec![], vec![1, 3, 4, 5]),
            ("chat", vec![], vec![1, 3, 4]),
            ("news.a", vec![], vec![1, 2, 3, 4, 6]),
        ] {
            let mut found = Vec::new();
            index.pattern_members(&channel(name), &mut found);
            found.sort_unstable();
            assert_eq!(
                (index.channel_members(name), found),
                (&exact[..], by_pattern),
                "{name}"
            );
        }
    }

    #[test]
    fn removed_subscriptions_free_their_memory() {
        let general = channel("chat.general");
        let mut index = SubscriptionIndex::<u32>::default();
        for connection in 0..5_000 {
            index.add_channel(&general, connection);
            index.add_channel(&channel(&format!("own.{connection}")), connection);
            index.add_pattern(&pattern(&format!("own.{connection}.*")), connection);
        }
        assert_eq!(index.subscriptions(), 15_000);
        for connection in 0..5_000 {
            assert!(index.remove_channel(&general, connection));
            assert!(index.remove_channel(&channel(&format!("own.{connection}")), connection));
            assert!(index.remove_pattern(&pattern(&format!("own.{connection}.*")), connection));
            index.shrink();
        }
        assert_eq!((index.subscriptions(), index.has_patterns()), (0, false));
        assert!(index.channels.capacity() <= 64);
    }
}
