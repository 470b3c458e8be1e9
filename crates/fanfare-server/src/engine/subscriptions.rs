//! What one connection listens to, and how that shows in its shard's index.

use std::sync::atomic::Ordering::Relaxed;

use ahash::AHashMap;
use fanfare_core::{EVERYONE_CHANNEL, Hears, Pattern, Subscription, UserId, personal_names};

use super::{
    Shard,
    connection::{Connection, Key},
    hold::Hold,
};

/// A connection's subscriptions. Most connections have none or few; those without any have no table.
#[derive(Default)]
pub(super) struct Subscriptions(AHashMap<Subscription, Entry>);

struct Entry {
    /// Gives back what it had the node listen to.
    _hold: Option<Hold>,
    /// Whether the connection is in the channel as in a room.
    member: bool,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn holds(&self, wanted: &Subscription) -> bool {
        self.0.contains_key(wanted)
    }

    pub(super) fn is_member(&self, room: &Subscription) -> bool {
        self.0.get(room).is_some_and(|entry| entry.member)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.0.keys()
    }

    /// The rooms the connection is in.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &Subscription> {
        self.0
            .iter()
            .filter(|(_, entry)| entry.member)
            .map(|(room, _)| room)
    }
}

impl Connection {
    pub(super) fn is_subscribed(&self, wanted: &Subscription) -> bool {
        self.subscriptions.as_ref().is_some_and(|own| own.holds(wanted))
    }

    pub(super) fn is_member(&self, room: &Subscription) -> bool {
        self.subscriptions.as_ref().is_some_and(|own| own.is_member(room))
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
    pub(super) fn listen(
        &mut self,
        wanted: Subscription,
        hold: Option<Hold>,
        member: bool,
        shard: &Shard,
        key: Key,
    ) {
        let mut index = shard.index.borrow_mut();
        match &wanted {
            Subscription::Channel(channel) => _ = index.add_channel(channel, key),
            Subscription::Pattern(pattern) => _ = index.add_pattern(pattern, key),
            Subscription::Personal(_) => {}
        }
        let own = &mut self.subscriptions.get_or_insert_default().0;
        if own.insert(wanted, Entry { _hold: hold, member }).is_none() {
            let counters = &self.admission.dialect().counters;
            counters.subscriptions.fetch_add(1, Relaxed);
        }
    }

    /// Does not listen to `wanted` any more.
    pub(super) fn unlisten(&mut self, wanted: &Subscription, shard: &Shard, key: Key) {
        let Some(own) = &mut self.subscriptions else {
            return;
        };
        if own.0.remove(wanted).is_none() {
            return;
        }
        if own.0.is_empty() {
            self.subscriptions = None;
        }
        let counters = &self.admission.dialect().counters;
        counters.subscriptions.fetch_sub(1, Relaxed);
        remove(wanted, shard, key);
    }

    /// Finds out anew whether it hears what is for its user and what is for everyone.
    pub(super) fn rehear(&mut self, shard: &Shard, key: Key) {
        let hearing = self.admission.dialect().hearing;
        let Some(identity) = &self.identity else {
            self.hears_everyone = self.hears(hearing.everyone, |wanted| shows_everyone(wanted));
            return;
        };
        let user = identity.user.clone();
        let hears_user = self.hears(hearing.user, |wanted| shows_user(wanted, &user));
        self.hears_everyone = self.hears(hearing.everyone, |wanted| shows_everyone(wanted));
        let mut index = shard.index.borrow_mut();
        if hears_user {
            index.add_user(&user, key);
        } else {
            index.remove_user(&user, key);
        }
    }

    fn hears(&self, how: Hears, shows: impl Fn(&Subscription) -> bool) -> bool {
        match how {
            Hears::Always => true,
            Hears::Never => false,
            Hears::Subscribed => self
                .subscriptions
                .as_ref()
                .is_some_and(|own| own.all().any(shows)),
        }
    }

    /// Takes the connection out of its shard's index.
    pub(super) fn leave_index(&self, shard: &Shard, key: Key) {
        if let Some(own) = &self.subscriptions {
            for wanted in own.all() {
                remove(wanted, shard, key);
            }
            let counters = &self.admission.dialect().counters;
            counters.subscriptions.fetch_sub(own.len() as u64, Relaxed);
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

fn shows_everyone(wanted: &Subscription) -> bool {
    match wanted {
        Subscription::Channel(channel) => **channel == *EVERYONE_CHANNEL,
        Subscription::Pattern(pattern) => pattern.matches(EVERYONE_CHANNEL),
        Subscription::Personal(_) => false,
    }
}

fn shows_user(wanted: &Subscription, user: &UserId) -> bool {
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
