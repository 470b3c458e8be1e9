//! The subscriptions of one connection.

use ahash::AHashMap;
use fanfare_core::{Channel, EVERYONE_CHANNEL, Pattern, Subscription, UserId, personal_names};

/// The most subscriptions that are kept in a list instead of a hash map, which would be the largest part of an idle connection.
const FEW: usize = 8;

#[derive(Default)]
pub(crate) struct Subscriptions {
    few: Vec<(Subscription, Traits)>,
    #[allow(
        clippy::box_collection,
        reason = "few connections have one, and all would have its size"
    )]
    many: Option<Box<AHashMap<Subscription, Traits>>>,
    /// The numbers of subscriptions that show events for the connection's user, and for everyone.
    pub(super) showing_user: u32,
    pub(super) showing_everyone: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Whether the channel is a room and the connection its member.
    pub(crate) member: bool,
    /// Whether it shows events for everyone, and the connection may see them.
    pub(crate) shows_everyone: bool,
    /// Whether it shows events for the connection's user.
    pub(crate) shows_user: bool,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.few.len() + self.many.as_ref().map_or(0, |many| many.len())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.each().map(|(wanted, _)| wanted)
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (&Subscription, Traits)> {
        let few = self.few.iter().map(|(wanted, traits)| (wanted, *traits));
        let many = self.many.iter().flat_map(|many| many.iter());
        few.chain(many.map(|(wanted, traits)| (wanted, *traits)))
    }

    pub(super) fn get(&self, wanted: &Subscription) -> Option<Traits> {
        let few = self.few.iter().find(|(own, _)| own == wanted);
        few.map(|(_, traits)| *traits)
            .or_else(|| self.many.as_ref()?.get(wanted).copied())
    }

    pub(crate) fn put(&mut self, wanted: Subscription, traits: Traits) {
        self.showing_user += u32::from(traits.shows_user);
        self.showing_everyone += u32::from(traits.shows_everyone);
        if self.few.len() < FEW && self.many.is_none() {
            self.few.reserve_exact(1);
            self.few.push((wanted, traits));
        } else {
            let many = self.many.get_or_insert_default();
            many.extend(std::mem::take(&mut self.few));
            many.insert(wanted, traits);
        }
    }

    pub(crate) fn remove(&mut self, wanted: &Subscription) -> Option<Traits> {
        let few = self.few.iter().position(|(own, _)| own == wanted);
        let traits = match few {
            Some(at) => self.few.swap_remove(at).1,
            None => self.many.as_mut()?.remove(wanted)?,
        };
        self.showing_user -= u32::from(traits.shows_user);
        self.showing_everyone -= u32::from(traits.shows_everyone);
        Some(traits)
    }

    /// Recomputes the traits of each subscription.
    pub(super) fn reassess(&mut self, assess: impl Fn(&Subscription, Traits) -> Traits) {
        let (mut users, mut everyone) = (0, 0);
        let few = self.few.iter_mut().map(|(wanted, traits)| (&*wanted, traits));
        for (wanted, traits) in few.chain(self.many.iter_mut().flat_map(|many| many.iter_mut())) {
            *traits = assess(wanted, *traits);
            users += u32::from(traits.shows_user);
            everyone += u32::from(traits.shows_everyone);
        }
        (self.showing_user, self.showing_everyone) = (users, everyone);
    }
}

/// Returns whether a subscription shows events for `user`.
pub(crate) fn shows_user(wanted: &Subscription, user: &UserId) -> bool {
    let matches = |pattern: &Pattern| {
        // `*` matches an id of any form.
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

/// Returns whether a subscription shows events on `channel`.
pub(crate) fn shows_channel(wanted: &Subscription, channel: &Channel) -> bool {
    match wanted {
        Subscription::Channel(own) => own == channel,
        Subscription::Pattern(pattern) => pattern.matches(channel),
        Subscription::Personal(_) => false,
    }
}

/// Returns whether a subscription shows events for everyone, in a dialect that has a channel for them.
pub(crate) fn shows_everyone(wanted: &Subscription) -> bool {
    match wanted {
        Subscription::Channel(channel) => **channel == *EVERYONE_CHANNEL,
        Subscription::Pattern(pattern) => pattern.matches(EVERYONE_CHANNEL),
        Subscription::Personal(_) => false,
    }
}
