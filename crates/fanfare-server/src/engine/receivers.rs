//! Which connections of a shard should have an event.

use std::{rc::Rc, sync::Arc};

use fanfare_core::{
    Audience, Channel, Event,
    policy::{Action, Question, Readers, Verdict, may_see},
};
use smallvec::SmallVec;

use super::{
    Prepared, Shard,
    connection::{Connection, Key},
};

/// Connections, in the order they are written to.
pub(super) type Receivers = SmallVec<[Key; 8]>;

/// Whether all that should have `one` should have `other`, and nobody else.
pub(super) fn same(one: &Event, other: &Event) -> bool {
    one.audience == other.audience && one.private_to == other.private_to
}

impl Shard {
    /// A snapshot of who should have the events of `run`, which are all for the same: the walk may pause, and
    /// connections come and go meanwhile.
    pub(super) fn receivers(self: &Rc<Self>, run: &[&Prepared]) -> Receivers {
        let Some(first) = run.first() else {
            return Receivers::new();
        };
        let event = &first.event;
        let mut receivers = match &event.audience {
            Audience::User(user) => self.index.borrow().user(user).into(),
            Audience::Everyone => self.who_hear_everyone(),
            Audience::Channel(channel) => return self.on_channel(channel, run),
        };
        self.keep_private(event, &mut receivers);
        receivers
    }

    fn who_hear_everyone(&self) -> Receivers {
        let connections = self.connections.borrow();
        let hearing = connections
            .iter()
            .filter(|(_, connection)| connection.hears_everyone);
        hearing.map(|(at, connection)| connection.key(at)).collect()
    }

    /// Where an event is private, leaves only those who may see it.
    fn keep_private(&self, event: &Event, receivers: &mut Receivers) {
        let Some(users) = &event.private_to else { return };
        let mut connections = self.connections.borrow_mut();
        receivers.retain(|key| {
            let connection = Connection::at(&mut connections, *key);
            connection.is_some_and(|own| may_see(Some(users), own.identity.as_deref()))
        });
    }

    /// Those who subscribed to exactly this channel were judged then. Those with a pattern are judged now, where there
    /// is anything to judge.
    fn on_channel(self: &Rc<Self>, channel: &Channel, run: &[&Prepared]) -> Receivers {
        let event = &run[0].event;
        let index = self.index.borrow();
        let mut receivers: Receivers = index.channel_members(channel).into();
        let mut by_pattern = Receivers::new();
        if index.has_patterns() {
            index.pattern_members(channel, &mut by_pattern);
        }
        drop(index);
        self.keep_private(event, &mut receivers);
        if by_pattern.is_empty() {
            return receivers;
        }
        self.keep_private(event, &mut by_pattern);
        let readers = self.node.policy.readers(channel);
        if readers != Readers::Everyone || !self.undecided.borrow().is_empty() {
            by_pattern.retain(|key| self.may_read(*key, channel, readers, run));
        }
        receivers.extend(by_pattern);
        receivers
    }

    /// Whether a connection with a matching pattern is shown what is on `channel`. One of whom that is not known yet
    /// gets the events when it is.
    fn may_read(self: &Rc<Self>, key: Key, channel: &Channel, readers: Readers, run: &[&Prepared]) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = Connection::receiver_at(&mut connections, key) else {
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
                self.ask_whether(key, question, run)
            }
        }
    }

    /// What the authorizer is remembered to have said; if nothing, it is asked, and the events wait.
    fn ask_whether(self: &Rc<Self>, key: Key, question: Question, run: &[&Prepared]) -> bool {
        let Some(authorizer) = &self.node.authorizer else {
            return false;
        };
        let waits = self.undecided.borrow().waits(key, &question.channel);
        if let (Some(remembered), false) = (authorizer.remembered(&question), waits) {
            return remembered;
        }
        let events = run.iter().map(|prepared| prepared.event.clone());
        self.hold_back(key, Arc::clone(authorizer), question, events);
        false
    }
}
