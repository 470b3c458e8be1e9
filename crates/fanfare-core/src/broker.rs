//! The port to what carries events between nodes.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{Channel, Event, UserId};

/// A future on the heap, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries events to every node that holds somebody who should have them, this one included.
///
/// Every publish passes the broker, whatever door it came in by, so that one node and many share one path and one
/// source of order: events that one caller publishes to one audience are handed to [`Inbound`] in that order.
/// All that an event has arrives as it was, its data and metadata byte for byte.
/// A broker that is away loses no node its own connections: what is published meanwhile is handed to this node's
/// [`Inbound`], and the receipt says so.
pub trait Broker: Send + Sync {
    /// Publishes `events` in order and answers one receipt for each. They are placed at the call, in the order of
    /// calls; the future only waits for what becomes of them.
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>>;

    /// Asks that events for `interest` reach this node. The request is placed at the call, in the order of calls;
    /// the future resolves when it is in force, or at once while the broker is away (it is then placed when it is back).
    fn subscribe(&self, interest: Interest) -> BoxFuture<'static, ()>;

    /// Takes back what [`Broker::subscribe`] asked for.
    fn unsubscribe(&self, interest: Interest);

    /// How the broker is, measured by asking it now.
    fn health(&self) -> BoxFuture<'_, BrokerHealth>;

    /// Sends something through the broker and waits until it has come back to this node; answers how long it took.
    ///
    /// # Errors
    /// When it did not come back in time.
    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>>;
}

/// Where a broker hands in the events that reached this node.
pub trait Inbound: Send + Sync {
    /// Delivers `events` in order to this node's connections, in the order of calls; resolves when each was queued or
    /// refused everywhere.
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Reach>>;

    /// Counts publications that came in from outside, those that are rejected included.
    fn received(&self, publications: u64);

    /// Counts a publication that is not of the documented form and was dropped.
    fn rejected(&self);

    /// Goes once through the node's own delivery path, every shard included, without a connection noticing.
    ///
    /// # Errors
    /// When some part of it did not answer in time.
    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// What a node wants to hear of. Events for everyone reach every node unasked, and an event that meets several interests
/// is handed in once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Events for this user.
    User(UserId),
    /// Events on this channel.
    Channel(Channel),
    /// Events on every channel, for a node that holds at least one pattern. Exact channels are asked for besides, so that
    /// they go on when the last pattern has gone.
    AllChannels,
}

/// How many of one node's connections an event reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Connections that should have it.
    pub matched: u64,
    /// Connections to which it was written or queued.
    pub queued: u64,
    /// Connections that could not take it: their queue was full.
    pub dropped: u64,
}

impl std::ops::AddAssign for Reach {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}

/// What became of a published event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The connections reached, on all nodes that answered.
    pub reach: Reach,
    /// How many nodes delivered it.
    pub nodes: u32,
    /// The broker was away (or answered only in part): only the nodes counted are known to have it.
    pub degraded: bool,
}

/// How the broker is.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerHealth {
    /// It is part of this process.
    Embedded,
    /// It answered.
    Connected {
        /// How long the answer took.
        round_trip: Duration,
    },
    /// It did not.
    Disconnected {
        /// Why, in a few words and without secrets.
        error: String,
    },
}

/// The broker did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection to it.
    #[error("the broker is not connected")]
    Away,
    /// It did not answer in time.
    #[error("the broker did not answer in time")]
    TimedOut,
}
