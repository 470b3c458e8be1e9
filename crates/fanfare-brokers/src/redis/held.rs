//! What this node asked Redis for, and what of it is in force on the connection there is now.

use ahash::AHashMap;
use fanfare_core::{Audience, Interest};

/// A request to hear of something; a later request for the same has another number.
pub(super) type Ticket = u64;

/// What this node wants to hear of. The truth about what to ask for after a reconnect.
#[derive(Default)]
pub(super) struct Held {
    interests: AHashMap<Interest, Request>,
    last_ticket: Ticket,
    /// Which listening connection this is, counted from 1.
    connection: u64,
    /// The connection on which every channel's events come by the pattern; 0 for none.
    pattern_on: u64,
    /// Whether that connection is there and hears of what is for everyone and for this node.
    pub(super) hearing: bool,
}

struct Request {
    ticket: Ticket,
    /// The connection on which Redis confirmed it; 0 for none.
    confirmed_on: u64,
}

/// Whether an event that is published now comes back to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    /// Nobody here should have it.
    Unwanted,
    /// It will, as long as the connection lives.
    Expected,
    /// Somebody here should have it, but Redis may not know yet.
    Uncertain,
}

/// What stands between a node that holds no pattern any more and doing without the pattern at Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// A pattern is held again.
    NotNow,
    /// These channels must be asked for one by one first.
    Ask(Vec<(Interest, Ticket)>),
    /// Nothing: the pattern is not relied on from now on.
    Left,
}

impl Held {
    pub(super) fn hold(&mut self, interest: Interest) -> Ticket {
        self.last_ticket += 1;
        let request = Request {
            ticket: self.last_ticket,
            confirmed_on: 0,
        };
        self.interests.insert(interest, request);
        self.last_ticket
    }

    pub(super) fn release(&mut self, interest: &Interest) {
        self.interests.remove(interest);
        if self.interests.capacity() > 1024 && self.interests.len() * 4 < self.interests.capacity() {
            let size = self.interests.len() * 2;
            self.interests.shrink_to(size);
        }
    }

    /// A new connection hears of everyone; answers what to ask for on it.
    pub(super) fn connected(&mut self) -> Vec<(Interest, Ticket)> {
        self.connection += 1;
        self.hearing = true;
        let interests = self.interests.iter();
        interests
            .map(|(interest, request)| (interest.clone(), request.ticket))
            .collect()
    }

    /// Redis confirmed these requests on this connection.
    pub(super) fn confirmed(&mut self, requests: &[(Interest, Ticket)]) {
        for (interest, ticket) in requests {
            if let Some(request) = self.interests.get_mut(interest)
                && request.ticket == *ticket
            {
                request.confirmed_on = self.connection;
            }
        }
    }

    /// From now on every channel's events come by the pattern, and single channels are not asked for.
    pub(super) fn pattern_in_force(&mut self) {
        self.pattern_on = self.connection;
        for (interest, request) in &mut self.interests {
            if matches!(interest, Interest::Channel(_)) {
                request.confirmed_on = 0;
            }
        }
    }

    /// Ceases to rely on the pattern, if that can be.
    pub(super) fn leave_pattern(&mut self) -> Leaving {
        if self.interests.contains_key(&Interest::AllChannels) {
            return Leaving::NotNow;
        }
        let unconfirmed = self.interests.iter().filter(|(interest, request)| {
            matches!(interest, Interest::Channel(_)) && request.confirmed_on != self.connection
        });
        let ask: Vec<_> = unconfirmed
            .map(|(interest, request)| (interest.clone(), request.ticket))
            .collect();
        if !ask.is_empty() {
            return Leaving::Ask(ask);
        }
        self.pattern_on = 0;
        Leaving::Left
    }

    pub(super) fn echo(&self, audience: &Audience) -> Echo {
        let confirmed = match audience {
            Audience::Everyone => Some(true),
            Audience::User(user) => self.is_confirmed(&Interest::User(user.clone())),
            Audience::Channel(channel) => {
                let alone = self.is_confirmed(&Interest::Channel(channel.clone()));
                let all = self.is_confirmed(&Interest::AllChannels);
                alone.or(all).map(|_| self.by_pattern() || alone == Some(true))
            }
        };
        match confirmed {
            None => Echo::Unwanted,
            Some(true) if self.hearing => Echo::Expected,
            Some(_) => Echo::Uncertain,
        }
    }

    /// Whether Redis confirmed `interest` by itself; `None` if it is not held.
    fn is_confirmed(&self, interest: &Interest) -> Option<bool> {
        let request = self.interests.get(interest)?;
        Some(request.confirmed_on == self.connection)
    }

    fn by_pattern(&self) -> bool {
        self.pattern_on == self.connection
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::{Channel, UserId};

    use super::{
        Echo::{Expected, Uncertain, Unwanted},
        *,
    };

    #[test]
    fn an_echo_is_expected_only_on_the_connection_that_confirmed() {
        let user = UserId::new("alice").unwrap();
        let to_alice = Audience::User(user.clone());
        let alice = Interest::User(user);
        let mut held = Held::default();
        assert_eq!(held.echo(&Audience::Everyone), Uncertain);
        assert_eq!(held.connected(), []);
        assert_eq!(held.echo(&Audience::Everyone), Expected);
        assert_eq!(held.echo(&to_alice), Unwanted);

        let first = held.hold(alice.clone());
        assert_eq!(held.echo(&to_alice), Uncertain);
        held.confirmed(&[(alice.clone(), first)]);
        assert_eq!(held.echo(&to_alice), Expected);

        held.release(&alice);
        assert_eq!(held.echo(&to_alice), Unwanted);
        let second = held.hold(alice.clone());
        held.confirmed(&[(alice.clone(), first)]);
        assert_eq!(held.echo(&to_alice), Uncertain, "an old request's confirmation");
        held.confirmed(&[(alice.clone(), second)]);

        held.hearing = false;
        assert_eq!(held.echo(&to_alice), Uncertain);
        assert_eq!(held.connected(), [(alice.clone(), second)]);
        assert_eq!(held.echo(&to_alice), Uncertain);
        held.confirmed(&[(alice, second)]);
        assert_eq!(held.echo(&to_alice), Expected);
    }

    #[test]
    fn channels_come_one_by_one_or_by_the_pattern() {
        let named = |name| Channel::new(name).unwrap();
        let (a, b) = (Interest::Channel(named("a")), Interest::Channel(named("b")));
        let echoes = |held: &Held| {
            let echo = |name| held.echo(&Audience::Channel(named(name)));
            (echo("a"), echo("b"), echo("c"))
        };
        let mut held = Held::default();
        held.connected();
        let first = held.hold(a.clone());
        assert_eq!(echoes(&held), (Uncertain, Unwanted, Unwanted));
        held.confirmed(&[(a.clone(), first)]);
        assert_eq!(echoes(&held), (Expected, Unwanted, Unwanted));

        held.hold(Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Uncertain, Uncertain));
        held.pattern_in_force();
        assert_eq!(echoes(&held), (Expected, Expected, Expected));
        assert_eq!(held.leave_pattern(), Leaving::NotNow);

        let second = held.hold(b.clone());
        held.release(&Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Expected, Unwanted));
        let Leaving::Ask(mut ask) = held.leave_pattern() else {
            panic!("they were let go of")
        };
        ask.sort_by_key(|(_, ticket)| *ticket);
        assert_eq!(ask, [(a, first), (b, second)]);
        assert_eq!(
            echoes(&held),
            (Expected, Expected, Unwanted),
            "still by the pattern"
        );
        held.confirmed(&ask);
        assert_eq!(held.leave_pattern(), Leaving::Left);
        assert_eq!(echoes(&held), (Expected, Expected, Unwanted));

        held.hold(Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Expected, Uncertain));
        held.pattern_in_force();
        held.connected();
        assert_eq!(echoes(&held), (Uncertain, Uncertain, Uncertain));
    }
}
