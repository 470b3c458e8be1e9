//! What is known of the connections that are open on one node.

use std::time::Duration;

use fanfare_core::{ConnectionFacts, Ending, Subscription};
use uuid::Uuid;

use super::{
    Shard,
    connection::Connection,
    row::{Filter, Row},
};

fn matches(filter: &Filter, own: &Connection) -> bool {
    let is = |wanted: &Option<Box<str>>, own: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
    };
    let subscribed = |wanted: &str| texts(own).any(|own| &*own == wanted);
    let identity = own.subscriber.identity.as_ref();
    own.is_open()
        && is(&filter.dialect, Some(own.mounted().name))
        && is(&filter.user, identity.map(|identity| &*identity.user))
        && filter.after.is_none_or(|after| own.id > after)
        && filter.channel.as_deref().is_none_or(subscribed)
}

fn texts(connection: &Connection) -> impl Iterator<Item = Box<str>> {
    connection.subscriber.all().map(|wanted| match wanted {
        Subscription::Personal(user) => fanfare_core::personal_channel(user).into(),
        Subscription::Channel(channel) => (**channel).into(),
        Subscription::Pattern(pattern) => pattern.as_str().into(),
    })
}

/// When an id of version 7 was made, in milliseconds of Unix time. Unlike an age, that is the same whenever one asks.
fn made_at_ms(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or_default()
}

impl Shard {
    pub(super) fn rows(&self, filter: &Filter) -> Vec<Row> {
        let row = |own: &Connection| {
            let mut subscriptions: Vec<_> = texts(own).collect();
            subscriptions.sort_unstable();
            let identity = own.subscriber.identity.as_ref();
            Row {
                id: own.id,
                dialect: own.mounted().name.into(),
                user: identity.map(|identity| (*identity.user).into()),
                session: identity.and_then(|identity| identity.session.clone()),
                name: own.admission.name().map(Into::into),
                address: own.admission.address(),
                opened_at_ms: made_at_ms(own.id),
                subscriptions,
            }
        };
        let connections = self.connections.borrow();
        let mut found: Vec<&Connection> = connections.iter().map(|(_, own)| &own.connection).collect();
        found.retain(|own| matches(filter, own));
        found.sort_by_key(|own| own.id);
        found.into_iter().take(filter.limit).map(row).collect()
    }

    /// What is known of this shard's open connections of a dialect.
    pub(super) fn list(&self, dialect: usize) -> Vec<ConnectionFacts> {
        let moment = self.node.now();
        let at = |then: u64| moment.wall - Duration::from_millis(moment.ms.saturating_sub(then));
        let facts = |connection: &Connection| ConnectionFacts {
            name: connection.admission.name().map(Into::into),
            opened_at: at(connection.liveness.opened_at),
            pinged_at: (connection.liveness.pinged_at > 0).then(|| at(connection.liveness.pinged_at)),
            user_agent: connection.admission.user_agent().map(Into::into),
        };
        let connections = self.connections.borrow();
        let all = connections.iter().map(|(_, driver)| &driver.connection);
        all.filter(|own| own.is_open() && own.mounted().number == dialect)
            .map(facts)
            .collect()
    }

    /// Ends the connections for which `ends` returns true, and returns how many.
    pub(super) fn end_those(&self, ending: Ending, ends: impl Fn(&Connection) -> bool) -> u64 {
        let moment = self.node.now();
        let mut connections = self.connections.borrow_mut();
        let mut ended = 0;
        for driver in connections.iter_mut() {
            if driver.connection.is_open() && ends(&driver.connection) {
                driver.end(ending, moment);
                ended += 1;
            }
        }
        ended
    }
}
