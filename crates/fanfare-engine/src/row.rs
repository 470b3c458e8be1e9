//! Open connections, as the service API lists them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which connections are asked for. Nodes of an earlier version ignore the fields that they do not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The connection of this id.
    pub id: Option<Uuid>,
    /// Of this dialect.
    pub dialect: Option<Box<str>>,
    /// Of this user.
    pub user: Option<Box<str>>,
    /// With a subscription of exactly this text: a channel, a pattern or a room.
    pub channel: Option<Box<str>>,
    /// With a subscription that covers this channel: the channel itself or a pattern that matches it.
    pub covers: Option<Box<str>>,
    /// Whose client has this address.
    pub address: Option<IpAddr>,
    /// Those with the most waiting messages, in place of those with the least ids.
    pub by_queue: bool,
    /// At most so many subscriptions of each; `None` for all.
    pub subscriptions: Option<usize>,
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
    /// What it subscribed to, and the rooms it is in, sorted; as many as were asked for.
    pub subscriptions: Vec<Box<str>>,
    /// More about it. A node of an earlier version leaves this out.
    #[serde(default)]
    pub detail: RowDetail,
}

/// What an operator wants to know of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct RowDetail {
    /// The node that holds it.
    pub node: Uuid,
    /// Messages that wait for its socket.
    pub queued: usize,
    /// The bytes of all frames that wait for its socket.
    pub queued_bytes: usize,
    /// How many subscriptions it has, those that were not asked for included.
    pub subscription_count: usize,
    /// What program its client says it is, where its dialect keeps that.
    pub user_agent: Option<Box<str>>,
    /// Since its client sent anything, in milliseconds.
    pub silent_ms: u64,
    /// When its credential expires, in milliseconds of Unix time.
    pub expires_at_ms: Option<u64>,
    /// Its credential has expired, and it gets no events until there is another.
    pub paused: bool,
    /// It receives the events for its user.
    pub gets_user: bool,
    /// It receives the events for everyone.
    pub gets_everyone: bool,
    /// Messages are compressed.
    pub compressed: bool,
}

impl Filter {
    /// Those of `rows` that it asks for, in order.
    pub fn cut(&self, mut rows: Vec<Row>) -> Vec<Row> {
        // A node of an earlier version may not have looked at the address.
        rows.retain(|row| self.address.is_none_or(|address| row.address == address));
        rows.sort_by_key(|row| self.rank(row.detail.queued, row.id));
        rows.truncate(self.limit);
        rows
    }

    /// The place of a connection among others; the least come first.
    pub(super) fn rank(&self, queued: usize, id: Uuid) -> (usize, Uuid) {
        let most_first = if self.by_queue { usize::MAX - queued } else { 0 };
        (most_first, id)
    }
}
