//! What this node asked Redis for, and what of it is in force on the connection there is now.

use ahash::AHashMap;
use fanfare_core::{Audience, UserId};

/// A request to hear of a user; a later request for the same user has another number.
pub(super) type Ticket = u64;

/// The users this node holds. The truth about what to ask for after a reconnect.
#[derive(Default)]
pub(super) struct Held {
    users: AHashMap<UserId, HeldUser>,
    last_ticket: Ticket,
    /// Which listening connection this is, counted from 1.
    connection: u64,
    /// Whether that connection is there and hears of what is for everyone and for this node.
    pub(super) hearing: bool,
}

struct HeldUser {
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

impl Held {
    pub(super) fn hold(&mut self, user: UserId) -> Ticket {
        self.last_ticket += 1;
        let held = HeldUser {
            ticket: self.last_ticket,
            confirmed_on: 0,
        };
        self.users.insert(user, held);
        self.last_ticket
    }

    pub(super) fn release(&mut self, user: &UserId) {
        self.users.remove(user);
        if self.users.capacity() > 1024 && self.users.len() * 4 < self.users.capacity() {
            let size = self.users.len() * 2;
            self.users.shrink_to(size);
        }
    }

    /// A new connection hears of everyone; answers whom to ask for on it.
    pub(super) fn connected(&mut self) -> Vec<(UserId, Ticket)> {
        self.connection += 1;
        self.hearing = true;
        let users = self.users.iter();
        users.map(|(user, held)| (user.clone(), held.ticket)).collect()
    }

    /// Redis confirmed these requests on this connection.
    pub(super) fn confirmed(&mut self, requests: &[(UserId, Ticket)]) {
        for (user, ticket) in requests {
            if let Some(held) = self.users.get_mut(user)
                && held.ticket == *ticket
            {
                held.confirmed_on = self.connection;
            }
        }
    }

    pub(super) fn echo(&self, audience: &Audience) -> Echo {
        let confirmed = match audience {
            Audience::Everyone => Some(true),
            Audience::User(user) => self
                .users
                .get(user)
                .map(|held| held.confirmed_on == self.connection),
            Audience::Channel(_) => None,
        };
        match confirmed {
            None => Echo::Unwanted,
            Some(true) if self.hearing => Echo::Expected,
            Some(_) => Echo::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_echo_is_expected_only_on_the_connection_that_confirmed() {
        let alice = UserId::new("alice").unwrap();
        let to_alice = Audience::User(alice.clone());
        let mut held = Held::default();
        assert_eq!(held.echo(&Audience::Everyone), Echo::Uncertain);
        assert_eq!(held.connected(), []);
        assert_eq!(held.echo(&Audience::Everyone), Echo::Expected);
        assert_eq!(held.echo(&to_alice), Echo::Unwanted);

        let first = held.hold(alice.clone());
        assert_eq!(held.echo(&to_alice), Echo::Uncertain);
        held.confirmed(&[(alice.clone(), first)]);
        assert_eq!(held.echo(&to_alice), Echo::Expected);

        held.release(&alice);
        assert_eq!(held.echo(&to_alice), Echo::Unwanted);
        let second = held.hold(alice.clone());
        held.confirmed(&[(alice.clone(), first)]);
        assert_eq!(
            held.echo(&to_alice),
            Echo::Uncertain,
            "an old request's confirmation"
        );
        held.confirmed(&[(alice.clone(), second)]);

        held.hearing = false;
        assert_eq!(held.echo(&to_alice), Echo::Uncertain);
        assert_eq!(held.connected(), [(alice.clone(), second)]);
        assert_eq!(held.echo(&to_alice), Echo::Uncertain);
        held.confirmed(&[(alice, second)]);
        assert_eq!(held.echo(&to_alice), Echo::Expected);
    }
}
