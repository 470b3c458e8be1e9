//! What one connection listens to, and how that shows in its shard's index and in what its node hears.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ahash::AHashMap;
use fanfare_core::{Channel, Pattern, Receives, Subscription, UserId, personal_names};

use super::{
    Shard,
    connection::{Connection, Key},
    hold::Hold,
};

/// Subscriptions kept in a row; more are kept in a table. Most connections have none or few, and a table of its own
/// would be the largest part of an idle connection.
const FEW: usize = 8;

/// A connection's subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    few: Vec<(Subscription, Traits)>,
    #[allow(
        clippy::box_collection,
        reason = "few have one, and all would pay for its size"
    )]
    many: Option<Box<AHashMap<Subscription, Traits>>>,
    /// How many of them show what is for the connection's user, and what is for everyone.
    showing_user: u32,
    showing_everyone: u32,
}

/// What is known of one subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether the connection is in the channel as in a room.
    pub(super) member: bool,
    /// Whether it shows what is for everyone, as far as the connection may see that.
    pub(super) shows_everyone: bool,
    /// Whether it shows what is for the connection's user.
    pub(super) shows_user: bool,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.few.len() + self.many.as_ref().map_or(0, |many| many.len())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.each().map(|(wanted, _)| wanted)
    }

    fn each(&self) -> impl Iterator<Item = (&Subscription, Traits)> {
        let few = self.few.iter().map(|(wanted, traits)| (wanted, *traits));
        let many = self.many.iter().flat_map(|many| many.iter());
        few.chain(many.map(|(wanted, traits)| (wanted, *traits)))
    }

    fn get(&self, wanted: &Subscription) -> Option<Traits> {
        let few = self.few.iter().find(|(own, _)| own == wanted);
        few.map(|(_, traits)| *traits)
            .or_else(|| self.many.as_ref()?.get(wanted).copied())
    }

    fn put(&mut self, wanted: Subscription, traits: Traits) {
        self.count(traits);
        if self.few.len() < FEW && self.many.is_none() {
            self.few.reserve_exact(1);
            self.few.push((wanted, traits));
        } else {
            let many = self.many.get_or_insert_default();
            many.extend(std::mem::take(&mut self.few));
            many.insert(wanted, traits);
        }
    }

    fn remove(&mut self, wanted: &Subscription) -> Option<Traits> {
        let few = self.few.iter().position(|(own, _)| own == wanted);
        let traits = match few {
            Some(at) => self.few.swap_remove(at).1,
            None => self.many.as_mut()?.remove(wanted)?,
        };
        self.showing_user -= u32::from(traits.shows_user);
        self.showing_everyone -= u32::from(traits.shows_everyone);
        Some(traits)
    }

    fn count(&mut self, traits: Traits) {
        self.showing_user += u32::from(traits.shows_user);
        self.showing_everyone += u32::from(traits.shows_everyone);
    }

    /// Finds out anew what each shows.
    fn reassess(&mut self, assess: impl Fn(&Subscription, Traits) -> Traits) {
        (self.showing_user, self.showing_everyone) = (0, 0);
        let few = self.few.iter_mut().map(|(wanted, traits)| (&*wanted, traits));
        let all = few.chain(self.many.iter_mut().flat_map(|many| many.iter_mut()));
        let mut found = Vec::new();
        for (wanted, traits) in all {
            *traits = assess(wanted, *traits);
            found.push(*traits);
        }
        for traits in found {
            self.count(traits);
        }
    }
}

impl Connection {
    pub(super) fn is_subscribed(&self, wanted: &Subscription) -> bool {
        self.traits_of(wanted).is_some()
    }

    pub(super) fn is_member(&self, room: &Subscription) -> bool {
        self.traits_of(room).is_some_and(|traits| traits.member)
    }

    /// Where its subscriptions are counted.
    fn counted(&self) -> &AtomicU64 {
        &self.admission.dialect().counters.subscriptions
    }

    fn traits_of(&self, wanted: &Subscription) -> Option<Traits> {
        self.subscriptions.as_ref()?.get(wanted)
    }

    /// How many more subscriptions it may have.
    pub(super) fn subscriptions_left(&self) -> usize {
        let own = self.subscriptions.as_ref().map_or(0, |own| own.len());
        let most = self.admission.dialect().settings().max_subscriptions;
        most.saturating_sub(own)
    }

    /// Whether something it subscribed to shows `channel`.
    pub(super) fn is_shown(&self, channel: &Channel) -> bool {
        let mut own = self.subscriptions.iter().flat_map(|own| own.all());
        own.any(|wanted| match wanted {
            Subscription::Channel(own) => own == channel,
            Subscription::Pattern(pattern) => pattern.matches(channel),
            Subscription::Personal(_) => false,
        })
    }

    /// Listens to `wanted` from now on, in place of what it may have listened to by that name.
    pub(super) fn listen(
        &mut self,
        wanted: Subscription,
        hold: Option<Hold>,
        traits: Traits,
        shard: &Shard,
        key: Key,
    ) {
        let was = self.unlisten(&wanted, shard, key).unwrap_or_default();
        let traits = Traits {
            member: traits.member || was.member,
            ..traits
        };
        let mut index = shard.index.borrow_mut();
        match &wanted {
            Subscription::Channel(channel) => _ = index.add_channel(channel, key),
            Subscription::Pattern(pattern) => _ = index.add_pattern(pattern, key),
            Subscription::Personal(_) => {}
        }
        if let Some(hold) = hold {
            hold.keep(); // given back by `let_go`
        }
        self.subscriptions.get_or_insert_default().put(wanted, traits);
        self.counted().fetch_add(1, Relaxed);
    }

    /// Does not listen to `wanted` any more; answers what was known of it. Who was in a room must be told to have left.
    pub(super) fn unlisten(&mut self, wanted: &Subscription, shard: &Shard, key: Key) -> Option<Traits> {
        let own = self.subscriptions.as_mut()?;
        let traits = own.remove(wanted)?;
        if own.len() == 0 {
            self.subscriptions = None;
        }
        if let (Some(lapses), Subscription::Channel(channel)) = (&mut self.lapses, wanted) {
            lapses.forget(channel);
        }
        self.counted().fetch_sub(1, Relaxed);
        let_go(wanted, shard, key);
        Some(traits)
    }

    /// Does not listen to `wanted` any more, and leaves the room, if it is in it as in one.
    pub(super) fn drop_subscription(&mut self, wanted: &Subscription, shard: &Shard, key: Key) {
        let traits = self.unlisten(wanted, shard, key);
        if let (Subscription::Channel(room), Some(identity)) = (wanted, &self.identity)
            && traits.is_some_and(|traits| traits.member)
        {
            shard.node.leave_room(room.clone(), &identity.user);
        }
    }

    /// Goes by what it subscribed to in whether it hears what is for its user and what is for everyone.
    pub(super) fn rehear(&mut self, shard: &Shard, key: Key) {
        let hearing = self.admission.dialect().hearing;
        let own = self.subscriptions.as_ref();
        let shown = own.map_or((0, 0), |own| (own.showing_user, own.showing_everyone));
        let hears = |how: Receives, shown: u32| match how {
            Receives::Always => true,
            Receives::Never => false,
            Receives::Subscribed => shown > 0,
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

    /// Finds out anew what its subscriptions show, now that its user is known, or known better. `everyone` tells
    /// whether a pattern may show what is for everyone, if that is known.
    pub(super) fn reassess(&mut self, everyone: Option<bool>) {
        let (Some(own), Some(identity)) = (&mut self.subscriptions, &self.identity) else {
            return;
        };
        own.reassess(|wanted, was| Traits {
            shows_user: shows_user(wanted, &identity.user),
            shows_everyone: match (wanted, everyone) {
                (Subscription::Pattern(pattern), Some(may)) => {
                    may && pattern.matches(fanfare_core::EVERYONE_CHANNEL)
                }
                _ => was.shows_everyone,
            },
            ..was
        });
    }

    /// Takes the connection out of its shard's index; answers the rooms it was in, which must be told.
    pub(super) fn leave_index(&mut self, shard: &Shard, key: Key) -> Vec<Channel> {
        let mut rooms = Vec::new();
        if let Some(own) = self.subscriptions.take() {
            self.counted().fetch_sub(own.len() as u64, Relaxed);
            for (wanted, traits) in own.each() {
                let_go(wanted, shard, key);
                if let (true, Subscription::Channel(room)) = (traits.member, wanted) {
                    rooms.push(room.clone());
                }
            }
        }
        let mut index = shard.index.borrow_mut();
        if let Some(identity) = &self.identity {
            index.remove_user(&identity.user, key);
        }
        index.shrink();
        self.hears_everyone = false;
        rooms
    }
}

/// Takes a subscription out of the index, and gives back what it had the node listen to.
fn let_go(wanted: &Subscription, shard: &Shard, key: Key) {
    let mut index = shard.index.borrow_mut();
    let held = match wanted {
        Subscription::Channel(channel) => {
            index.remove_channel(channel, key);
            Hold::kept_channel(&shard.node, shard.number, channel)
        }
        Subscription::Pattern(pattern) => {
            index.remove_pattern(pattern, key);
            Hold::kept_pattern(&shard.node, shard.number, pattern)
        }
        Subscription::Personal(_) => return,
    };
    drop(held);
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
