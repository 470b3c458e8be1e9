//! The interests of this node, and whether the echo of an event that it publishes will arrive.

use ahash::AHashMap;
use fanfare_core::{Audience, Interest};
use tokio::sync::oneshot;

/// The number of a request to subscribe; a later request for the same has another number.
pub(crate) type Ticket = u64;

/// The interests that this node holds, to which it subscribes again after a reconnect.
#[derive(Default)]
pub(crate) struct Interests {
    held: AHashMap<Interest, WantedInterest>,
    last_ticket: Ticket,
    /// The number of the receiving connection. It increases when the connection is lost, and with the next one; 0 before the first.
    pub(crate) connection: u64,
    /// The connection with a subscription to all channels; 0 for none.
    all_channels_on: u64,
    /// Whether that connection works, and receives the messages for everyone and for this node.
    pub(crate) receiving: bool,
}

struct WantedInterest {
    ticket: Ticket,
    /// The connection on which the server confirmed it; 0 for none.
    confirmed_on: u64,
}

/// A change of this node's subscriptions.
pub(crate) enum Command {
    /// The sender is called when the subscription is in force.
    Subscribe(Interest, Ticket, oneshot::Sender<()>),
    Unsubscribe(Interest),
}

/// Whether this node receives the echo of an event that it publishes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// No connection of this node should receive the event.
    Unwanted,
    /// The echo arrives, unless the receiving connection is lost.
    Expected,
    /// A connection of this node should receive the event, but the subscription may not be in force yet.
    Uncertain,
}

/// The next step of a node that has released its last pattern, and unsubscribes from all channels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Keep the subscription: the node holds a pattern again.
    NotNow,
    /// Subscribe to each of these channels first.
    Subscribe(Vec<(Interest, Ticket)>),
    /// Unsubscribe: no echo depends on the subscription to all channels.
    Left,
}

impl Interests {
    pub(crate) fn hold(&mut self, interest: Interest) -> Ticket {
        self.last_ticket += 1;
        let request = WantedInterest {
            ticket: self.last_ticket,
            confirmed_on: 0,
        };
        self.held.insert(interest, request);
        self.last_ticket
    }

    pub(crate) fn release(&mut self, interest: &Interest) {
        self.held.remove(interest);
        if self.held.capacity() > 1024 && self.held.len() * 4 < self.held.capacity() {
            let size = self.held.len() * 2;
            self.held.shrink_to(size);
        }
    }

    /// Notes a new connection, which receives the messages for everyone. Returns the interests to subscribe to on it.
    pub(crate) fn connected(&mut self) -> Vec<(Interest, Ticket)> {
        self.connection += 1;
        self.receiving = true;
        let held = self.held.iter();
        held.map(|(interest, request)| (interest.clone(), request.ticket))
            .collect()
    }

    /// Notes that the connection was lost. Later confirmations are not from it.
    pub(crate) fn disconnected(&mut self) {
        self.connection += 1;
        self.receiving = false;
    }

    /// Notes that these subscriptions are in force on the present connection.
    pub(crate) fn confirmed(&mut self, requests: &[(Interest, Ticket)]) {
        for (interest, ticket) in requests {
            if let Some(request) = self.held.get_mut(interest)
                && request.ticket == *ticket
            {
                request.confirmed_on = self.connection;
            }
        }
    }

    /// Notes that the subscription to all channels counts from now on, instead of those to single channels.
    pub(crate) fn all_channels_in_force(&mut self) {
        self.all_channels_on = self.connection;
        for (interest, request) in &mut self.held {
            if matches!(interest, Interest::Channel(_)) {
                request.confirmed_on = 0;
            }
        }
    }

    /// Returns the next step towards the end of the subscription to all channels.
    pub(crate) fn leave_all_channels(&mut self) -> Leaving {
        if self.held.contains_key(&Interest::AllChannels) {
            return Leaving::NotNow;
        }
        let unconfirmed = self.held.iter().filter(|(interest, request)| {
            matches!(interest, Interest::Channel(_)) && request.confirmed_on != self.connection
        });
        let ask: Vec<_> = unconfirmed
            .map(|(interest, request)| (interest.clone(), request.ticket))
            .collect();
        if !ask.is_empty() {
            return Leaving::Subscribe(ask);
        }
        self.all_channels_on = 0;
        Leaving::Left
    }

    pub(crate) fn echo(&self, audience: &Audience) -> Echo {
        let confirmed = match audience {
            Audience::Everyone => Some(true),
            Audience::User(user) => self.is_confirmed(&Interest::User(user.clone())),
            Audience::Channel(channel) => {
                let alone = self.is_confirmed(&Interest::Channel(channel.clone()));
                let all = self.is_confirmed(&Interest::AllChannels);
                alone
                    .or(all)
                    .map(|_| self.by_all_channels() || alone == Some(true))
            }
        };
        match confirmed {
            None => Echo::Unwanted,
            Some(true) if self.receiving => Echo::Expected,
            Some(_) => Echo::Uncertain,
        }
    }

    /// Returns whether this node holds `interest`.
    pub(crate) fn holds(&self, interest: &Interest) -> bool {
        self.held.contains_key(interest)
    }

    /// Returns whether the subscription to `interest` is in force; `None` if this node does not hold it.
    fn is_confirmed(&self, interest: &Interest) -> Option<bool> {
        let request = self.held.get(interest)?;
        Some(request.confirmed_on == self.connection)
    }

    fn by_all_channels(&self) -> bool {
        self.all_channels_on == self.connection
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
        let mut held = Interests::default();
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

        held.disconnected();
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
        let echoes = |held: &Interests| {
            let echo = |name| held.echo(&Audience::Channel(named(name)));
            (echo("a"), echo("b"), echo("c"))
        };
        let mut held = Interests::default();
        held.connected();
        let first = held.hold(a.clone());
        assert_eq!(echoes(&held), (Uncertain, Unwanted, Unwanted));
        held.confirmed(&[(a.clone(), first)]);
        assert_eq!(echoes(&held), (Expected, Unwanted, Unwanted));

        held.hold(Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Uncertain, Uncertain));
        held.all_channels_in_force();
        assert_eq!(echoes(&held), (Expected, Expected, Expected));
        assert_eq!(held.leave_all_channels(), Leaving::NotNow);

        let second = held.hold(b.clone());
        held.release(&Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Expected, Unwanted));
        let Leaving::Subscribe(mut ask) = held.leave_all_channels() else {
            panic!("the single subscriptions are not in force")
        };
        ask.sort_by_key(|(_, ticket)| *ticket);
        assert_eq!(ask, [(a, first), (b, second)]);
        assert_eq!(
            echoes(&held),
            (Expected, Expected, Unwanted),
            "still by the pattern"
        );
        held.confirmed(&ask);
        assert_eq!(held.leave_all_channels(), Leaving::Left);
        assert_eq!(echoes(&held), (Expected, Expected, Unwanted));

        held.hold(Interest::AllChannels);
        assert_eq!(echoes(&held), (Expected, Expected, Uncertain));
        held.all_channels_in_force();
        held.connected();
        assert_eq!(echoes(&held), (Uncertain, Uncertain, Uncertain));
    }
}
