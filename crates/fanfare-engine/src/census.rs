//! What is known of the connections that are open: of one node's, and of those of all nodes.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use fanfare_core::{ConnectionFacts, Ending, Subscription};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    MountedDialect, Node, Shard, ShardCommand, ShardHandle,
    connection::{Connection, Phase},
};

/// Which connections are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of this dialect.
    pub dialect: Option<Box<str>>,
    /// Of this user.
    pub user: Option<Box<str>>,
    /// With a subscription of exactly this text: a channel, a pattern or a room.
    pub channel: Option<Box<str>>,
    /// With a greater id than this. Ids grow with the time of opening.
    pub after: Option<Uuid>,
    /// At most so many, those with the least ids.
    pub limit: usize,
}

/// One open connection, as the service API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id, unlike any other's in the cluster.
    pub id: Uuid,
    /// Its dialect.
    pub dialect: Box<str>,
    /// Who it proved to be.
    pub user: Option<Box<str>>,
    /// The login session that its credential belongs to.
    pub session: Option<Box<str>>,
    /// What it is called, where connections have names.
    pub name: Option<Box<str>>,
    /// Its client's address.
    pub address: IpAddr,
    /// When it was opened, in milliseconds of Unix time.
    pub opened_at_ms: u64,
    /// What it subscribed to, and the rooms it is in, sorted.
    pub subscriptions: Vec<Box<str>>,
}

impl Filter {
    fn matches(&self, connection: &Connection) -> bool {
        let is = |wanted: &Option<Box<str>>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
        };
        let subscribed = |wanted: &str| texts(connection).any(|own| &*own == wanted);
        connection.phase == Phase::Open
            && is(&self.dialect, Some(connection.admission.dialect().name))
            && is(&self.user, connection.identity.as_ref().map(|own| &*own.user))
            && self.after.is_none_or(|after| connection.id > after)
            && self.channel.as_deref().is_none_or(subscribed)
    }

    /// Those of `rows` that it asks for, in order.
    pub fn cut(&self, mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_by_key(|row| row.id);
        rows.truncate(self.limit);
        rows
    }
}

fn texts(connection: &Connection) -> impl Iterator<Item = Box<str>> {
    let own = connection.subscriptions.iter().flat_map(|own| own.all());
    own.map(|wanted| match wanted {
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
            Row {
                id: own.id,
                dialect: own.admission.dialect().name.into(),
                user: own.identity.as_ref().map(|identity| (*identity.user).into()),
                session: own
                    .identity
                    .as_ref()
                    .and_then(|identity| identity.session.clone()),
                name: own.admission.name().map(Into::into),
                address: own.admission.address(),
                opened_at_ms: made_at_ms(own.id),
                subscriptions,
            }
        };
        let connections = self.connections.borrow();
        let mut found: Vec<&Connection> = connections.iter().map(|(_, own)| &**own).collect();
        found.retain(|own| filter.matches(own));
        found.sort_by_key(|own| own.id);
        found.into_iter().take(filter.limit).map(row).collect()
    }

    /// What is known of this shard's open connections of a dialect.
    pub(super) fn list(&self, dialect: usize) -> Vec<ConnectionFacts> {
        let (clock, now) = (self.node.clock_ms(), SystemTime::now());
        let at = |then: u64| now - Duration::from_millis(clock.saturating_sub(then));
        let facts = |connection: &Connection| ConnectionFacts {
            name: connection.admission.name().map(Into::into),
            opened_at: at(connection.opened_at),
            pinged_at: (connection.pinged_at > 0).then(|| at(connection.pinged_at)),
            user_agent: connection.user_agent.as_deref().cloned(),
        };
        let connections = self.connections.borrow();
        let open = connections.iter().map(|(_, connection)| connection);
        open.filter(|own| own.phase == Phase::Open && own.admission.dialect().number == dialect)
            .map(|own| facts(own))
            .collect()
    }

    /// Ends the connections that `ends` says, and answers how many.
    pub(super) fn end_those(&self, ending: Ending, ends: &dyn Fn(&Connection) -> bool) -> u64 {
        let now = self.node.clock_ms();
        let mut connections = self.connections.borrow_mut();
        let mut ended = 0;
        for (_, own) in connections.iter_mut() {
            if own.phase == Phase::Open && ends(own) {
                own.end(ending, now);
                ended += 1;
            }
        }
        ended
    }
}

impl Node {
    /// What is known of this node's open connections of `mounted`, oldest first.
    pub async fn list(&self, mounted: &MountedDialect) -> Vec<ConnectionFacts> {
        let mut all = self
            .of_each_shard(|tell| ShardCommand::List(mounted.number, tell))
            .await;
        all.sort_by_key(|facts| facts.opened_at);
        all
    }

    /// This node's open connections that `filter` asks for.
    pub(super) async fn rows(&self, filter: Filter) -> Vec<Row> {
        let rows = self
            .of_each_shard(|tell| ShardCommand::Rows(filter.clone(), tell))
            .await;
        filter.cut(rows)
    }

    async fn of_each_shard<T>(&self, command: impl Fn(oneshot::Sender<Vec<T>>) -> ShardCommand) -> Vec<T> {
        let ask = |shard: &ShardHandle| {
            let (tell, told) = oneshot::channel();
            shard.send(command(tell));
            told
        };
        let asked: Vec<_> = self.shards().iter().map(ask).collect();
        let mut all = Vec::new();
        for told in asked {
            all.extend(told.await.unwrap_or_default());
        }
        all
    }
}
