//! Which connections of a shard should have an event.

use std::rc::Rc;

use fanfare_core::{
    Audience, Channel, Event, UserId,
    policy::{Action, Question, Readers, Verdict},
};
use smallvec::SmallVec;

use super::{
    Prepared, Shard,
    connection::{Connection, Key},
    undecided::Questions,
};

/// Connections, in the order they are written to.
pub(super) type Receivers = SmallVec<[Key; 8]>;

/// Whether all that should have `one` should have `other`, and nobody else.
pub(super) fn same(one: &Event, other: &Event) -> bool {
    one.audience == other.audience
        && (&one.private_to, &one.readers_of, one.except)
            == (&other.private_to, &other.readers_of, other.except)
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
        self.leave_out(event, &mut receivers);
        self.keep_private(event, &mut receivers);
        receivers
    }

    /// Removes the connection that does not receive `event`.
    fn leave_out(&self, event: &Event, receivers: &mut Receivers) {
        let Some(except) = event.except else { return };
        let mut connections = self.connections.borrow_mut();
        receivers.retain(|key| Connection::at(&mut connections, *key).is_none_or(|own| own.id != except));
    }

    fn who_hear_everyone(&self) -> Receivers {
        let connections = self.connections.borrow();
        let hearing = connections
            .iter()
            .filter(|(_, connection)| connection.hears_everyone);
        hearing.map(|(at, connection)| connection.key(at)).collect()
    }

    /// Where an event to a user or to everyone is private, leaves only those who may see it.
    fn keep_private(&self, event: &Event, receivers: &mut Receivers) {
        if event.private_to.is_none() {
            return;
        }
        let mut connections = self.connections.borrow_mut();
        receivers.retain(|key| {
            let connection = Connection::at(&mut connections, *key);
            connection.is_some_and(|own| {
                self.node.policy().may_see(event, own.identity.as_deref()) == Verdict::Allowed
            })
        });
    }

    /// Those who subscribed to exactly this channel were judged then. Those with a pattern are judged now, and so is
    /// everybody where the event is private; nobody where there is nothing to judge.
    fn on_channel(self: &Rc<Self>, channel: &Channel, run: &[&Prepared]) -> Receivers {
        let index = self.index.borrow();
        let mut receivers: Receivers = index.channel_members(channel).into();
        let mut by_pattern = Receivers::new();
        if index.has_patterns() {
            index.pattern_members(channel, &mut by_pattern);
        }
        drop(index);
        self.leave_out(&run[0].event, &mut receivers);
        self.leave_out(&run[0].event, &mut by_pattern);
        let is_special = run[0].event.private_to.is_some() || self.undecided.borrow().waits_on(channel);
        if is_special {
            receivers.retain(|key| self.may_read(*key, channel, Readers::Everyone, run));
        }
        if by_pattern.is_empty() {
            return receivers;
        }
        let readers = self.node.policy().readers(channel);
        if is_special || readers != Readers::Everyone {
            by_pattern.retain(|key| self.may_read(*key, channel, readers, run));
        }
        receivers.extend(by_pattern);
        receivers
    }

    /// Whether a connection is shown what is on `channel`. One of whom that is not known yet gets the events when it is.
    fn may_read(self: &Rc<Self>, key: Key, channel: &Channel, readers: Readers, run: &[&Prepared]) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = Connection::receiver_at(&mut connections, key) else {
            return false;
        };
        let (policy, event) = (self.node.policy(), &run[0].event);
        let who = connection.identity.as_deref();
        let of_channel = match readers {
            Readers::Everyone => Verdict::Allowed,
            Readers::Identified if who.is_some() => Verdict::Allowed,
            Readers::Identified => Verdict::Denied,
            Readers::Judged => policy.judge(who, Action::Subscribe, channel),
        };
        let of_event = policy.may_see(event, who);
        if of_channel == Verdict::Denied || of_event == Verdict::Denied {
            return false;
        }
        let mut asked = Questions::new();
        let open = [(of_channel, Some(channel)), (of_event, event.readers_of.as_ref())];
        for (_, about) in open.into_iter().filter(|(verdict, _)| *verdict == Verdict::Ask) {
            let about = about
                .into_iter()
                .flat_map(|about| policy.open_questions(who, Action::Subscribe, about));
            for about in about {
                if !asked.contains(&about) {
                    asked.push(about);
                }
            }
        }
        let user = who.map(|identity| identity.user.clone());
        drop(connections);
        self.ask_whether(key, channel, (user, asked), run)
    }

    /// What the authorizer is remembered to have said of what is `asked`, if anything; where it is not, it is asked, and
    /// the events wait. They wait, too, behind earlier ones on the same channel.
    fn ask_whether(
        self: &Rc<Self>,
        key: Key,
        channel: &Channel,
        (user, asked): (Option<UserId>, Questions),
        run: &[&Prepared],
    ) -> bool {
        let mut open = Questions::new();
        let question = |about: &Channel| Question {
            user: user.clone(),
            action: Action::Subscribe,
            channel: about.clone(),
        };
        for about in asked {
            let authorizer = self.node.authorizer.as_ref();
            // Nobody there to be asked means no.
            match authorizer.map_or(Some(false), |authorizer| authorizer.remembered(&question(&about))) {
                Some(true) => {}
                Some(false) => return false,
                None => open.push(about),
            }
        }
        if open.is_empty() && !self.undecided.borrow().waits(key, channel) {
            return true;
        }
        let questions = open.iter().map(question).collect();
        let events = run.iter().map(|prepared| prepared.event.clone());
        self.hold_back(key, channel, (open, questions), events);
        false
    }
}
