//! Which connections of a shard should have an event.

use std::{rc::Rc, sync::Arc};

use fanfare_core::{
    Audience, Channel, Event,
    policy::{Action, Question, Readers, Verdict, may_see},
};
use smallvec::SmallVec;

use super::{
    Shard,
    connection::{Connection, Key},
};

/// Connections, in the order they are written to.
pub(super) type Receivers = SmallVec<[Key; 8]>;

/// Whether all that should have `one` should have `other`, and nobody else.
pub(super) fn same(one: &Event, other: &Event) -> bool {
    one.audience == other.audience && one.private_to == other.private_to
}

impl Shard {
    /// A snapshot of who should have it: the walk may pause, and connections come and go meanwhile.
    pub(super) fn receivers(self: &Rc<Self>, event: &Event) -> Receivers {
        let mut receivers = match &event.audience {
            Audience::User(user) => self.index.borrow().user(user).into(),
            Audience::Everyone => self.who_hear_everyone(),
            Audience::Channel(channel) => self.on_channel(channel, event),
        };
        if let Some(users) = &event.private_to {
            let mut connections = self.connections.borrow_mut();
            receivers.retain(|key| {
                let connection = Connection::at(&mut connections, *key);
                connection.is_some_and(|own| may_see(Some(users), own.identity.as_deref()))
            });
        }
        receivers
    }

    fn who_hear_everyone(&self) -> Receivers {
        let connections = self.connections.borrow();
        let hearing = connections
            .iter()
            .filter(|(_, connection)| connection.hears_everyone);
        hearing.map(|(at, connection)| connection.key(at)).collect()
    }

    /// Those who subscribed to exactly this channel were judged then. Those with a pattern are judged now, where there
    /// is anything to judge.
    fn on_channel(self: &Rc<Self>, channel: &Channel, event: &Event) -> Receivers {
        let index = self.index.borrow();
        let mut receivers: Receivers = index.channel_members(channel).into();
        if !index.has_patterns() {
            return receivers;
        }
        let exact = receivers.len();
        index.pattern_members(channel, &mut receivers);
        drop(index);
        if receivers.len() == exact {
            return receivers;
        }
        let readers = self.node.policy.readers(channel);
        if readers == Readers::Everyone && self.undecided.borrow().is_empty() {
            return receivers;
        }
        let mut at = 0;
        receivers.retain(|key| {
            at += 1;
            at <= exact || self.may_read(*key, channel, readers, event)
        });
        receivers
    }

    /// Whether a connection with a matching pattern is shown what is on `channel`. One of whom that is not known yet
    /// gets the event when it is.
    fn may_read(self: &Rc<Self>, key: Key, channel: &Channel, readers: Readers, event: &Event) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = Connection::at(&mut connections, key) else {
            return false;
        };
        let who = connection.identity.as_deref();
        let verdict = match readers {
            Readers::Everyone => Verdict::Allowed,
            Readers::Identified if who.is_some() => Verdict::Allowed,
            Readers::Identified => Verdict::Denied,
            Readers::Judged => self.node.policy.judge(who, Action::Subscribe, channel),
        };
        match verdict {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::Ask => {
                let user = who.map(|identity| identity.user.clone());
                let question = Question {
                    user,
                    action: Action::Subscribe,
                    channel: channel.clone(),
                };
                drop(connections);
                self.ask_whether(key, question, event)
            }
        }
    }

    /// What the authorizer is remembered to have said; if nothing, it is asked, and the event waits.
    fn ask_whether(self: &Rc<Self>, key: Key, question: Question, event: &Event) -> bool {
        let Some(authorizer) = &self.node.authorizer else {
            return false;
        };
        let waits = self.undecided.borrow().waits(key, &question.channel);
        if let (Some(remembered), false) = (authorizer.remembered(&question), waits) {
            return remembered;
        }
        self.hold_back(key, Arc::clone(authorizer), question, event.clone());
        false
    }
}
