//! Lists and ends the open connections of one shard.

use std::{rc::Rc, time::Duration};

use fanfare_core::{Audience, ConnectionFacts, Ending, MAX_MESSAGE_BYTES, Subscription, policy::Permission};
use uuid::Uuid;

use super::{
    Shard,
    connection::Connection,
    connections::Key,
    driver::Driver,
    row::{Filter, Row, RowDetail, RowPage},
};

/// The connections that are listed between two pauses: each may have a thousand subscriptions.
const ROWS_PER_STEP: usize = 16;

/// Returns whether a subscription of the connection covers `audience`.
fn covers(own: &Connection, audience: &Audience) -> bool {
    own.subscriber.all().any(|wanted| match (wanted, audience) {
        (Subscription::Personal(user), Audience::User(of)) => user == of,
        (Subscription::Channel(own), Audience::Channel(channel)) => own == channel,
        (Subscription::Pattern(pattern), Audience::Channel(channel)) => pattern.matches(channel),
        _ => false,
    })
}

fn matches(filter: &Filter, covered: Option<&Audience>, own: &Connection) -> bool {
    let is = |wanted: &Option<Box<str>>, own: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
    };
    let subscribed = |wanted: &str| texts(own).any(|own| &*own == wanted);
    let identity = own.subscriber.identity.as_ref();
    own.is_open()
        && filter.id.is_none_or(|id| own.id == id)
        && filter
            .address
            .is_none_or(|address| own.admission.address() == address)
        && is(&filter.dialect, Some(own.mounted().name))
        && is(&filter.user, identity.map(|identity| &*identity.user))
        && filter.after.is_none_or(|after| own.id > after)
        && filter.channel.as_deref().is_none_or(subscribed)
        && covered.is_none_or(|audience| covers(own, audience))
}

fn texts(connection: &Connection) -> impl Iterator<Item = Box<str>> {
    connection.subscriber.all().map(|wanted| match wanted {
        Subscription::Personal(user) => fanfare_core::personal_channel(user).into(),
        Subscription::Channel(channel) => (**channel).into(),
        Subscription::Pattern(pattern) => pattern.as_str().into(),
    })
}

/// Returns the time in an id of version 7, in milliseconds of Unix time. Unlike an age, it is the same in every answer.
fn made_at_ms(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or_default()
}

impl Shard {
    /// Returns the open connections that match `filter`, as many as fit into one message.
    pub(super) async fn rows(self: Rc<Self>, filter: Filter) -> RowPage {
        let Ok(covered) = filter.covers.as_deref().map(Audience::of_channel).transpose() else {
            return RowPage::default(); // no channel can have this name
        };
        let covered = covered.as_ref();
        let mut found = Vec::<((usize, Uuid), Key)>::new();
        self.visit(|key, own| {
            if matches(&filter, covered, own) {
                found.push((filter.rank(own.waiting().0, own.id), key));
            }
        })
        .await;
        let is_limited = found.len() > filter.limit;
        if is_limited {
            found.select_nth_unstable_by_key(filter.limit, |(rank, _)| *rank);
            found.truncate(filter.limit);
        }
        found.sort_unstable_by_key(|(rank, _)| *rank);
        let (mut rows, mut bytes) = (Vec::with_capacity(found.len()), 0);
        for some in found.chunks(ROWS_PER_STEP) {
            if bytes > MAX_MESSAGE_BYTES {
                break;
            }
            for (_, key) in some {
                if let Some(driver) = self.connections.borrow_mut().at(*key) {
                    let row = self.row(&driver.connection, &filter, covered);
                    bytes += row.subscriptions.iter().map(|text| text.len()).sum::<usize>();
                    rows.push(row);
                }
            }
            tokio::task::yield_now().await;
        }
        let page = RowPage {
            rows,
            more: is_limited || bytes > MAX_MESSAGE_BYTES,
        };
        filter.merge([page])
    }

    fn row(&self, own: &Connection, filter: &Filter, covered: Option<&Audience>) -> Row {
        let subscription_count = own.subscriber.all().count();
        let mut subscriptions = Vec::new();
        if filter.subscriptions != Some(0) {
            subscriptions.extend(texts(own));
            subscriptions.sort_unstable();
            subscriptions.truncate(filter.subscriptions.unwrap_or(usize::MAX));
        }
        let identity = own.subscriber.identity.as_ref();
        let (queued, queued_bytes) = own.waiting();
        Row {
            id: own.id,
            dialect: own.mounted().name.into(),
            user: identity.map(|identity| (*identity.user).into()),
            session: identity.and_then(|identity| identity.session.clone()),
            name: own.admission.name().map(Into::into),
            address: own.admission.address(),
            opened_at_ms: made_at_ms(own.id),
            subscriptions,
            detail: RowDetail {
                node: self.node.id,
                queued,
                queued_bytes,
                subscription_count,
                user_agent: own.admission.user_agent().map(Into::into),
                silent_ms: own.liveness.silence(self.node.now().ms),
                expires_at_ms: own.liveness.expires_at(),
                paused: own.subscriber.is_paused,
                gets_user: own.subscriber.receives_user,
                gets_everyone: own.subscriber.receives_everyone,
                compressed: own.framing().deflate().is_some(),
                refused: self.refuses(own, covered),
            },
        }
    }

    /// Returns whether the connection may not read the covered channel, although one of its patterns matches. Events that a
    /// pattern matches are judged one by one; a subscription to the channel itself was judged when it was made.
    fn refuses(&self, own: &Connection, covered: Option<&Audience>) -> bool {
        let Some(Audience::Channel(channel)) = covered else {
            return false;
        };
        let is_it = |wanted: &Subscription| matches!(wanted, Subscription::Channel(own) if own == channel);
        if own.subscriber.all().any(is_it) {
            return false;
        }
        let (access, who) = (&self.node.access, own.subscriber.reader(channel));
        match access.may_subscribe(who, &Subscription::Channel(channel.clone())) {
            Permission::Allowed => false,
            Permission::Denied => true,
            Permission::Pending(mut open) => access
                .remembered(&mut open)
                .is_some_and(|answer| !answer.is_allowed()),
        }
    }

    /// Returns this shard's open connections of a dialect.
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

    /// Ends the connections for which `ends` returns true, and returns their number.
    pub(super) fn end_matching(&self, ending: Ending, ends: impl Fn(&Connection) -> bool) -> u64 {
        let connections = self.connections.borrow();
        let of = |(key, driver): (Key, &Driver)| {
            (driver.connection.is_open() && ends(&driver.connection)).then_some(key)
        };
        let keys: Vec<_> = connections.iter().filter_map(of).collect();
        drop(connections);
        self.catch_up(keys.iter().copied());
        let moment = self.node.now();
        let mut connections = self.connections.borrow_mut();
        for key in &keys {
            if let Some(driver) = connections.at(*key) {
                driver.end(ending, moment);
            }
        }
        keys.len() as u64
    }
}
