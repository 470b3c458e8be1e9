//! What one connection listens to, and how that shows in its shard's index.

use std::sync::Arc;

use ahash::AHashMap;
use fanfare_core::{Channel, Hears, Pattern, Subscription, UserId, personal_names};

use super::{
    Node, Shard,
    connection::{Connection, Key},
    hold::Hold,
};

/// A connection's subscriptions. Most connections have none or few; those without any have no table.
#[derive(Default)]
pub(super) struct Subscriptions {
    entries: AHashMap<Subscription, Entry>,
    /// How many of them show what is for the connection's user, and what is for everyone.
    showing_user: usize,
    showing_everyone: usize,
}

/// What belongs to one subscription.
pub(super) struct Entry {
    /// Gives back what it had the node listen to.
    pub(super) _hold: Option<Hold>,
    /// That the connection is in the channel as in a room.
    pub(super) member: Option<Membership>,
    /// Whether it shows what is for everyone, as far as the connection may see that.
    pub(super) shows_everyone: bool,
    /// Whether it shows what is for the connection's user.
    pub(super) shows_user: bool,
}

/// A connection's place in a room, given up when dropped.
pub(super) struct Membership {
    node: Arc<Node>,
    room: Channel,
    user: UserId,
    left: bool,
}

impl Membership {
    /// Enters `user` in `room`; answers whether this is the user's first connection there.
    pub(super) fn enter(node: &Arc<Node>, room: &Channel, user: &UserId) -> (Self, bool) {
        let first = node.members.join(room, user);
        let (node, room, user) = (node.clone(), room.clone(), user.clone());
        let own = Self {
            node,
            room,
            user,
            left: false,
        };
        (own, first)
    }

    /// Leaves; answers whether this was the user's last connection there.
    pub(super) fn leave(mut self) -> bool {
        self.left = true;
        self.node.members.leave(&self.room, &self.user)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !self.left {
            self.node.members.leave(&self.room, &self.user);
        }
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.entries.keys()
    }

    fn put(&mut self, wanted: Subscription, entry: Entry) {
        self.remove(&wanted);
        self.showing_user += usize::from(entry.shows_user);
        self.showing_everyone += usize::from(entry.shows_everyone);
        self.entries.insert(wanted, entry);
    }

    fn remove(&mut self, wanted: &Subscription) -> Option<Entry> {
        let entry = self.entries.remove(wanted)?;
        self.showing_user -= usize::from(entry.shows_user);
        self.showing_everyone -= usize::from(entry.shows_everyone);
        Some(entry)
    }
}

impl Connection {
    pub(super) fn is_subscribed(&self, wanted: &Subscription) -> bool {
        let own = self.subscriptions.as_ref();
        own.is_some_and(|own| own.entries.contains_key(wanted))
    }

    pub(super) fn is_member(&self, room: &Subscription) -> bool {
        let own = self.subscriptions.as_ref();
        own.and_then(|own| own.entries.get(room))
            .is_some_and(|entry| entry.member.is_some())
    }

    /// How many more subscriptions it may have.
    pub(super) fn subscriptions_left(&self) -> usize {
        let own = self.subscriptions.as_ref().map_or(0, |own| own.len());
        self.admission
            .dialect()
            .settings
            .max_subscriptions
            .saturating_sub(own)
    }

    /// Listens to `wanted` from now on.
    pub(super) fn listen(&mut self, wanted: Subscription, entry: Entry, shard: &Shard, key: Key) {
        let mut index = shard.index.borrow_mut();
        match &wanted {
            Subscription::Channel(channel) => _ = index.add_channel(channel, key),
            Subscription::Pattern(pattern) => _ = index.add_pattern(pattern, key),
            Subscription::Personal(_) => {}
        }
        self.subscriptions.get_or_insert_default().put(wanted, entry);
    }

    /// Does not listen to `wanted` any more; answers what belonged to it.
    pub(super) fn unlisten(&mut self, wanted: &Subscription, shard: &Shard, key: Key) -> Option<Entry> {
        let own = self.subscriptions.as_mut()?;
        let entry = own.remove(wanted)?;
        if own.entries.is_empty() {
            self.subscriptions = None;
        }
        remove(wanted, shard, key);
        Some(entry)
    }

    /// Leaves every room; answers those in which it was its user's last.
    pub(super) fn leave_rooms(&mut self) -> Vec<Channel> {
        let mut left = Vec::new();
        for entry in self
            .subscriptions
            .iter_mut()
            .flat_map(|own| own.entries.values_mut())
        {
            if let Some(membership) = entry.member.take() {
                let room = membership.room.clone();
                if membership.leave() {
                    left.push(room);
                }
            }
        }
        left
    }

    /// Goes by what it subscribed to in whether it hears what is for its user and what is for everyone.
    pub(super) fn rehear(&mut self, shard: &Shard, key: Key) {
        let hearing = self.admission.dialect().hearing;
        let own = self.subscriptions.as_ref();
        let shown = own.map_or((0, 0), |own| (own.showing_user, own.showing_everyone));
        let hears = |how: Hears, shown: usize| match how {
            Hears::Always => true,
            Hears::Never => false,
            Hears::Subscribed => shown > 0,
        };
        self.hears_everyone = hears(hearing.everyone, shown.1);
        let Some(identity) = &self.identity else { return };
        let hears_user = hears(hearing.user, shown.0);
        if hears_user == self.hears_user {
            return;
        }
        self.hears_user = hears_user;
        let mut index = shard.index.borrow_mut();
        if hears_user {
            index.add_user(&identity.user, key);
        } else {
            index.remove_user(&identity.user, key);
        }
    }

    /// Takes the connection out of its shard's index.
    pub(super) fn leave_index(&self, shard: &Shard, key: Key) {
        for wanted in self.subscriptions.iter().flat_map(|own| own.all()) {
            remove(wanted, shard, key);
        }
        let mut index = shard.index.borrow_mut();
        if let Some(identity) = &self.identity {
            index.remove_user(&identity.user, key);
        }
        index.shrink();
    }
}

fn remove(wanted: &Subscription, shard: &Shard, key: Key) {
    let mut index = shard.index.borrow_mut();
    match wanted {
        Subscription::Channel(channel) => _ = index.remove_channel(channel, key),
        Subscription::Pattern(pattern) => _ = index.remove_pattern(pattern, key),
        Subscription::Personal(_) => {}
    }
}

/// Whether `wanted` is a subscription to what is for `user`.
pub(super) fn shows_user(wanted: &Subscription, user: &UserId) -> bool {
    let matches = |pattern: &Pattern| {
        // Whatever the id is made of, `*` stands for it as for any other.
        let whole = UserId::new(&user.replace(['.', ':'], "_"));
        let names = personal_names(user).chain(whole.iter().flat_map(personal_names));
        names.into_iter().any(|name| pattern.matches(&name))
    };
    match wanted {
        Subscription::Personal(own) => own == user,
        Subscription::Pattern(pattern) => matches(pattern),
        Subscription::Channel(_) => false,
    }
}
