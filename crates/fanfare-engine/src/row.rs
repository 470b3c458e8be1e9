//! Open connections, as the service API lists them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Those of `rows` that it asks for, in order.
    pub fn cut(&self, mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_by_key(|row| row.id);
        rows.truncate(self.limit);
        rows
    }
}
