//! Finds the connections of a shard that receive an event.

use std::rc::Rc;

use fanfare_core::{
    Audience, Channel, Event,
    policy::{OpenQuestions, Permission, Readers},
};

use super::{
    Prepared, Shard,
    connections::{Key, Receivers},
};

impl Shard {
    /// Returns the connections that receive the events of `run`, all for one audience. It is a snapshot: the delivery may pause, and
    /// connections open and close meanwhile.
    pub(super) fn receivers(self: &Rc<Self>, run: &[&Prepared]) -> Receivers {
        let Some(first) = run.first() else {
            return Receivers::new();
        };
        let event = &first.event;
        let mut receivers = match &event.audience {
            Audience::User(user) => self.directory.index().user(user).into(),
            Audience::Everyone => self.all_for_everyone(),
            Audience::Channel(channel) => return self.on_channel(channel, run),
        };
        self.exclude_sender(event, &mut receivers);
        self.keep_private(event, &mut receivers);
        receivers
    }

    /// Removes the connection that sent `event`, if it does not receive it.
    fn exclude_sender(&self, event: &Event, receivers: &mut Receivers) {
        let Some(except) = event.except else { return };
        let mut connections = self.connections.borrow_mut();
        receivers.retain(|key| connections.at(*key).is_none_or(|own| own.connection.id != except));
    }

    pub(super) fn all_for_everyone(&self) -> Receivers {
        let connections = self.connections.borrow();
        let mut receivers = Receivers::with_capacity(connections.len());
        let all = connections.iter();
        // `collect` would search the pages again for each connection, which takes twice the time.
        all.filter(|(_, driver)| driver.connection.subscriber.receives_everyone)
            .for_each(|(key, _)| receivers.push(key));
        receivers.shrink_to_fit(); // a fan-out keeps them for long
        receivers
    }

    /// Retains the connections that may see `event`, if it is private and for a user or everyone.
    fn keep_private(&self, event: &Event, receivers: &mut Receivers) {
        if event.private_to.is_none() {
            return;
        }
        let mut connections = self.connections.borrow_mut();
        receivers.retain(|key| {
            connections.at(*key).is_some_and(|own| {
                let who = own.connection.subscriber.identity.as_deref();
                match self.node.access.may_see(who, event) {
                    Permission::Allowed => true,
                    // Only an event on a channel waits for the authorizer.
                    Permission::Denied | Permission::Pending(_) => false,
                }
            })
        });
    }

    /// Returns the receivers of an event on `channel`. Connections with a subscription to exactly this channel were judged when they
    /// subscribed. Those with a pattern are judged now, if a rule restricts the channel. For a private event, all are judged.
    fn on_channel(self: &Rc<Self>, channel: &Channel, run: &[&Prepared]) -> Receivers {
        let index = self.directory.index();
        let mut receivers: Receivers = index.channel_members(channel).into();
        let mut by_pattern = Receivers::new();
        if index.has_patterns() {
            index.pattern_members(channel, &mut by_pattern);
        }
        drop(index);
        self.exclude_sender(&run[0].event, &mut receivers);
        self.exclude_sender(&run[0].event, &mut by_pattern);
        let is_special = run[0].event.private_to.is_some() || self.undecided.borrow().waits_on(channel);
        if is_special {
            receivers.retain(|key| self.may_read(*key, channel, Readers::Everyone, run));
        }
        if by_pattern.is_empty() {
            return receivers;
        }
        let readers = self.node.access.readers(channel);
        if is_special || readers != Readers::Everyone {
            by_pattern.retain(|key| self.may_read(*key, channel, readers, run));
        }
        receivers.extend(by_pattern);
        receivers
    }

    /// Returns whether a connection may read `channel` now. If the authorizer must decide, the events are held back for its answer.
    fn may_read(self: &Rc<Self>, key: Key, channel: &Channel, readers: Readers, run: &[&Prepared]) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(driver) = connections.later_receiver_at(key) else {
            return false;
        };
        let who = driver.connection.subscriber.reader(channel);
        let permission = self.node.access.may_receive(who, &run[0].event, channel, readers);
        let keeps_order = driver.connection.wants_cursors();
        drop(connections);
        let mut open = match permission {
            Permission::Allowed => OpenQuestions::default(),
            Permission::Denied => return false,
            Permission::Pending(open) => open,
        };
        let is_behind = || self.undecided.borrow().waits(key, channel);
        match self.node.access.remembered(&mut open) {
            Some(answer) if !answer.is_allowed() => return false,
            Some(_) if !is_behind() => return true,
            // The events wait for the answer, or behind earlier ones on the same channel.
            Some(_) | None => {}
        }
        let events = run.iter().map(|prepared| prepared.event.clone());
        // With cursors, no event may overtake another.
        if keeps_order {
            self.hold_back_all(key, events);
            return false;
        }
        self.hold_back(key, channel, open, events);
        false
    }
}
