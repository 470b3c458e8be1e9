//! A shard's index of connections by subscription, kept in step with their subscriptions and the node's interests.

use std::{
    cell::{Ref, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use fanfare_core::{Channel, Subscription, SubscriptionIndex};

use super::{
    Node,
    connection::{Connection, Traits},
    connections::Key,
    interest_guard::{self, InterestGuard, On},
};

/// A subscription that a connection may have from now on.
pub(super) struct Grant {
    pub(super) wanted: Subscription,
    pub(super) guard: Option<InterestGuard>,
    pub(super) traits: Traits,
}

pub(super) struct Directory {
    node: Arc<Node>,
    shard: usize,
    index: RefCell<SubscriptionIndex<Key>>,
}

impl Directory {
    pub(super) fn new(node: Arc<Node>, shard: usize) -> Self {
        Self {
            node,
            shard,
            index: RefCell::default(),
        }
    }

    pub(super) fn index(&self) -> Ref<'_, SubscriptionIndex<Key>> {
        self.index.borrow()
    }

    /// Subscribes the connection, and replaces an earlier subscription to the same name. The caller then calls
    /// [`Self::refresh`].
    pub(super) fn subscribe(&self, key: Key, connection: &mut Connection, grant: Grant) {
        let Grant {
            wanted,
            guard,
            mut traits,
        } = grant;
        let was = self.remove(key, connection, &wanted).unwrap_or_default();
        traits.member |= was.member;
        let mut index = self.index.borrow_mut();
        match &wanted {
            Subscription::Channel(channel) => _ = index.add_channel(channel, key),
            Subscription::Pattern(pattern) => _ = index.add_pattern(pattern, key),
            Subscription::Personal(_) => {}
        }
        if let Some(guard) = guard {
            guard.keep(); // `release` releases the interest
        }
        let own = connection.subscriber.subscriptions.get_or_insert_default();
        own.put(wanted, traits);
        subscription_counter(connection).fetch_add(1, Relaxed);
    }

    /// Ends the subscription to `wanted`, and leaves the room if the connection is a member of it. The caller then calls
    /// [`Self::refresh`].
    pub(super) fn unsubscribe(&self, key: Key, connection: &mut Connection, wanted: &Subscription) {
        let traits = self.remove(key, connection, wanted);
        if let (Subscription::Channel(room), Some(identity)) = (wanted, &connection.subscriber.identity)
            && traits.is_some_and(|traits| traits.member)
        {
            self.node.broker().leave(room.clone(), identity.user.clone());
        }
    }

    /// Ends the subscription to `wanted`, without leaving the room, and returns its traits.
    fn remove(&self, key: Key, connection: &mut Connection, wanted: &Subscription) -> Option<Traits> {
        let subscriber = &mut connection.subscriber;
        let own = subscriber.subscriptions.as_mut()?;
        let traits = own.remove(wanted)?;
        if own.len() == 0 {
            subscriber.subscriptions = None;
        }
        subscriber.forget(wanted);
        subscription_counter(connection).fetch_sub(1, Relaxed);
        self.release(key, wanted);
        Some(traits)
    }

    /// Removes a subscription from the index, and releases the node's interest.
    fn release(&self, key: Key, wanted: &Subscription) {
        let mut index = self.index.borrow_mut();
        let held = match wanted {
            Subscription::Channel(channel) => {
                index.remove_channel(channel, key);
                On::Channel(channel.clone())
            }
            Subscription::Pattern(pattern) => {
                index.remove_pattern(pattern, key);
                On::Pattern(pattern.clone())
            }
            Subscription::Personal(_) => return,
        };
        interest_guard::release(&self.node, self.shard, &held);
    }

    /// Recomputes whether the connection receives its user's events, and those for everyone.
    pub(super) fn refresh(&self, key: Key, connection: &mut Connection) {
        let reception = connection.mounted().reception;
        let subscriber = &mut connection.subscriber;
        let (user, everyone) = subscriber.should_receive(reception);
        subscriber.receives_everyone = everyone;
        let Some(identity) = &subscriber.identity else {
            return;
        };
        if user == std::mem::replace(&mut subscriber.receives_user, user) {
            return;
        }
        let mut index = self.index.borrow_mut();
        if user {
            index.add_user(&identity.user, key);
        } else {
            index.remove_user(&identity.user, key);
        }
    }

    /// Removes a connection that has ended from the index. Returns its rooms, which the caller must leave.
    pub(super) fn remove_all(&self, key: Key, connection: &mut Connection) -> Vec<Channel> {
        let mut rooms = Vec::new();
        if let Some(own) = connection.subscriber.subscriptions.take() {
            subscription_counter(connection).fetch_sub(own.len() as u64, Relaxed);
            for (wanted, traits) in own.each() {
                self.release(key, wanted);
                if let (true, Subscription::Channel(room)) = (traits.member, wanted) {
                    rooms.push(room.clone());
                }
            }
        }
        let mut index = self.index.borrow_mut();
        if let Some(identity) = &connection.subscriber.identity {
            index.remove_user(&identity.user, key);
        }
        index.shrink();
        connection.subscriber.receives_everyone = false;
        rooms
    }

    /// Keeps the node's interest in the user's events for the connection.
    pub(super) fn keep_user(connection: &mut Connection, guard: Option<InterestGuard>) {
        connection.subscriber.holds_user = guard.is_some();
        if let Some(guard) = guard {
            guard.keep();
        }
    }

    /// Releases the node's interest in the user's events for the connection.
    pub(super) fn release_user(&self, connection: &mut Connection) {
        let holds = std::mem::take(&mut connection.subscriber.holds_user);
        if let (true, Some(identity)) = (holds, &connection.subscriber.identity) {
            let (user, dialect) = (identity.user.clone(), connection.mounted().number);
            interest_guard::release(&self.node, self.shard, &On::User { user, dialect });
        }
    }
}

/// Returns the counter of the subscriptions in the connection's dialect.
fn subscription_counter(connection: &Connection) -> &AtomicU64 {
    &connection.mounted().counters.subscriptions
}
