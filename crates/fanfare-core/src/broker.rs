//! The port to the broker, which carries events between nodes.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Audience, Channel, Entered, Entry, EntryTicket, Event, Histogram, Member, Presence, PresenceCounts,
    Present, Slot, UserId,
    history::{Cursor, Retention, Unrecovered},
    journal::{JournalFigures, Replay, ReplayQuery},
};

/// The maximum size of a question, an answer or a notice between nodes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = (8 << 20) - 4096;
/// The time for which a node waits for the answers to a question.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for which the answer to a subscription waits while a node renews its subscriptions.
pub const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The time for which a published id is stored.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(600);
/// The time for which an unpublished id stays taken. After it, the node that claimed the id counts as dead. The embedded
/// broker does not need it, because it ends with its node.
pub const UNPUBLISHED_LIFETIME: Duration = Duration::from_secs(30);
/// The default maximum of ids in a node's memory. Above it, the oldest claims are evicted.
pub const MAX_CLAIMS: usize = 1_000_000;
/// The maximum of notices that a node stores for other nodes. Above it, or above 64 MiB, the oldest are dropped, so a node
/// that has not received them yet misses them.
pub const MAX_NOTICES: usize = 10_000;

/// A boxed future, for trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Delivers events to every node with a connection in their audience, including this one.
///
/// Every event passes the broker, from every door, so one node and many share one path and one order. The events of one
/// caller for one audience reach [`Inbound`] in the order of their publication. Data and metadata keep their bytes. While
/// the broker is unavailable, events are delivered only to this node, and their receipts are `degraded`.
pub trait Broker: Send + Sync {
    /// Publishes `events` in order, and returns a receipt for each. The call queues the events; the future only waits for
    /// the receipts.
    fn publish(&self, events: Vec<Event>, options: PublishOptions) -> BoxFuture<'static, Vec<Receipt>>;

    /// Requests the events for `interest`. The call queues the request; the future resolves when it is in force. While the
    /// broker is unavailable it resolves at once, and the request is repeated after the reconnect.
    fn subscribe(&self, interest: Interest) -> BoxFuture<'static, ()>;

    /// Returns `None` if all requests of [`Broker::subscribe`] are in force. While they are repeated after a reconnect, it
    /// returns a future that resolves when they are in force, when the broker is unavailable, or after
    /// [`RENEWAL_TIMEOUT`].
    fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Withdraws the request of [`Broker::subscribe`].
    fn unsubscribe(&self, interest: Interest);

    /// Checks the connection to the broker, and returns its state.
    fn health(&self) -> BoxFuture<'_, BrokerHealth>;

    /// Sends a probe through the broker back to this node, and returns the round trip.
    ///
    /// # Errors
    /// If the probe does not return in time.
    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>>;

    /// Asks every node, including this one, and returns the answers of [`Inbound::answer`] within [`QUESTION_TIMEOUT`].
    fn ask(&self, question: Bytes) -> BoxFuture<'_, NodeAnswers>;

    /// Broadcasts `notice` to the [`Inbound::on_notice`] of every live node, exactly once: to this node before the call
    /// returns, to the others soon or after a reconnect. Until then, up to [`MAX_NOTICES`] are stored. The notices of one
    /// caller keep their order.
    fn broadcast(&self, notice: Bytes);

    /// Claims `ids` for the caller, and returns a claim for each, in order. Of all callers in the cluster that claim an id,
    /// exactly one gets [`Claim::New`].
    ///
    /// A published id is stored for [`CLAIM_LIFETIME`]; an unpublished one may be new again after
    /// [`UNPUBLISHED_LIFETIME`]. While the broker is unavailable, this node decides by the claims in its memory, as many as
    /// the configuration allows, and other nodes do not see its claims. If the future is dropped early, its ids are
    /// released.
    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>>;

    /// Stores the receipts of ids that the caller has claimed and published, for later callers that claim them. The work
    /// begins at the call, and the future may be dropped. It resolves when the receipts are stored, or when the broker is
    /// unavailable. Ids that have expired are not stored again.
    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()>;

    /// Releases ids that the caller has claimed but not published, so that they are new again. The work begins at the call,
    /// like that of [`Broker::record`]. While the broker is unavailable, the ids stay taken at other nodes.
    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()>;

    /// Returns the use of this node's memory of ids.
    fn remembered_ids(&self) -> RememberedIds {
        RememberedIds::default()
    }

    /// Returns this node's figures about the broker.
    fn figures(&self) -> BrokerFigures {
        BrokerFigures::default()
    }

    /// Returns the round trips of this node's messages, sampled every few seconds; `None` if the broker is embedded.
    fn round_trips(&self) -> Option<&Histogram> {
        None
    }

    /// Reads kept events. The broker numbers, keeps and publishes an event in one step, so each node delivers in the order
    /// of the numbers. Events up to [`Replay::present`] have been delivered, or are on their way to this node.
    fn replay(&self, _query: ReplayQuery) -> BoxFuture<'static, Replay> {
        Box::pin(std::future::ready(Replay::unreachable()))
    }

    /// Returns this node's figures about the journal.
    fn journal_figures(&self) -> JournalFigures {
        JournalFigures::default()
    }

    /// Enters a room with a connection of this node. [`Inbound::entered`] is called in the order of deliveries, and the
    /// connection receives the events that are delivered after that call. If it is the user's first connection in the
    /// room on all nodes, the announcement ([`Inbound::announcement`]) is published once, and delivered after that call.
    /// While the broker is unavailable, this node decides by its own connections.
    fn enter(&self, entry: Entry);

    /// Leaves `room` with a connection of `user` on this node. If it is the user's last connection in the room on all
    /// nodes, the announcement is published once. The calls of [`Broker::enter`] and [`Broker::leave`] keep their order.
    fn leave(&self, room: Channel, user: UserId);

    /// Returns the members of `room` that have a connection on this node, in any order.
    fn present(&self, room: &Channel) -> Vec<Present>;

    /// Returns the number of rooms with members on this node.
    fn rooms(&self) -> usize;

    /// Returns this node's figures about presence since the start.
    fn presence_counts(&self) -> PresenceCounts {
        PresenceCounts::default()
    }

    /// Acquires one of the `max` places of `slot` for a connection of this node. Returns `false` if all nodes together hold
    /// `max` already. The caller has counted the places of this node; while the broker is unavailable, only that count
    /// decides.
    fn acquire_slot(&self, slot: Slot, max: usize) -> BoxFuture<'static, bool>;

    /// Releases a place of [`Broker::acquire_slot`].
    fn release_slot(&self, slot: Slot);

    /// Leaves the cluster: sends all earlier publications and changes of rooms to the other nodes, and releases this node's
    /// slots. After five seconds the future resolves anyway, and the other nodes clean up the rest.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// The side of a node that receives from the broker.
pub trait Inbound: Send + Sync {
    /// Delivers `events` to this node's connections in order. Resolves when every shard has queued or dropped them.
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>>;

    /// Counts publications of other programs, including rejected ones.
    fn received(&self, publications: u64);

    /// Counts a publication that was dropped because it is malformed.
    fn rejected(&self);

    /// Sends a probe through the node's delivery path and every shard, but not to connections.
    ///
    /// # Errors
    /// If a part of the path does not reply in time.
    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Returns this node's answer to a question ([`Broker::ask`]). An answer is missing if it takes longer than
    /// [`QUESTION_TIMEOUT`], has more than [`MAX_MESSAGE_BYTES`], or panics.
    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes>;

    /// Handles a notice ([`Broker::broadcast`]). It must not wait, because the next delivery waits for it.
    fn on_notice(&self, notice: Bytes);

    /// Is called when a connection has entered its room ([`Broker::enter`]), in the order of [`Inbound::deliver`]. It must
    /// not wait.
    fn entered(&self, ticket: EntryTicket, entered: Entered);

    /// Returns the event for `room` when `member` enters it with the first connection, or leaves it with the last one;
    /// `None` for no event. A node that cleans up after a dead node calls it for users of that node.
    fn announcement(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event>;

    /// Returns the retention of `audience`; `None` if it has no history.
    fn retention(&self, _audience: &Audience) -> Option<Retention> {
        None
    }

    /// Returns `true` if any audience may have history.
    fn keeps_history(&self) -> bool {
        false
    }

    /// Is called when events for connections of this node are lost, in the order of [`Inbound::deliver`], before the next
    /// event. It must not wait.
    fn on_gap(&self, _gap: Gap) {}
}

/// Events that were lost on the way to a node and cannot be read from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The audience of the events; `None` for all audiences.
    pub audience: Option<Audience>,
    /// The place in the journal after which no event is lost.
    pub present: Cursor,
    /// The reason why they cannot be read.
    pub reason: Unrecovered,
}

/// Events that a node requests from the broker. Events for everyone reach every node without a request. An event of several
/// interests is delivered once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// The events for this user.
    User(UserId),
    /// The events on this channel.
    Channel(Channel),
    /// The events on all channels, for a node with a pattern. Exact channels are requested as well, so their events continue
    /// after the last pattern has ended.
    AllChannels,
}

/// The numbers of connections that an event reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Connections that should receive it.
    pub matched: u64,
    /// Connections for which it was written or queued.
    pub queued: u64,
    /// Connections for which it was dropped because their queue was full.
    pub dropped: u64,
}

impl std::ops::AddAssign for Reach {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}

/// The options of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOptions {
    /// Whether the caller needs receipts, so that each node that delivers the events replies. Otherwise no node replies: the
    /// receipts count at most this node's connections, and resolve when the broker has the events and this node has
    /// delivered them.
    pub receipt: bool,
}

/// The numbers of connections and nodes that a published event reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The reached connections of all nodes that replied.
    pub reach: Reach,
    /// The number of nodes that received it. A broker may skip nodes that did not request its audience.
    pub nodes: u32,
    /// Whether more nodes may have received it, because the broker was unavailable or replies are missing.
    pub degraded: bool,
    /// Whether the event is a duplicate, which was not published again. The other fields are those of the first publication.
    /// The receipts of a [`Broker`] are never duplicates.
    pub is_duplicate: bool,
}

/// The answers of all nodes to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeAnswers {
    /// This node's answer first, unless it failed; then those of the others in the order of their arrival.
    pub answers: Vec<Bytes>,
    /// Whether all nodes have answered. Otherwise answers are missing, or the broker is unavailable.
    pub complete: bool,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The caller now holds the id.
    New,
    /// Another caller has claimed the id, and has not published its event yet.
    Taken,
    /// The event was published, with its receipt. `None` if that is not stored yet; if the publisher died, it never is. An
    /// event that was published through Redis has an empty receipt.
    Published(Option<Receipt>),
}

/// The use of a node's memory of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RememberedIds {
    /// The number of stored ids.
    pub held: u64,
    /// The number of ids that were evicted for newer ones before their time, since the start.
    pub evicted: u64,
}

/// A node's figures about its broker since the start. Each list has labels of a metric with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFigures {
    /// Publications that other nodes may have missed, by cause.
    pub degraded: Vec<(&'static str, u64)>,
    /// Messages of other programs and nodes that were ignored, by reason.
    pub ignored: Vec<(&'static str, u64)>,
    /// The number of other nodes: live ones, and those that may miss events.
    pub peers: Vec<(&'static str, u64)>,
    /// Other nodes that ended without leaving the cluster.
    pub peers_lost: u64,
    /// Whether there is no connection to the broker.
    pub is_away: bool,
    /// The number of reconnects of the receiving connection.
    pub reconnects: u64,
    /// Notices that other nodes will not receive.
    pub notices_dropped: u64,
}

/// The state of the broker.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerHealth {
    /// The broker is part of this process.
    Embedded,
    /// The broker replied.
    Connected {
        /// The round trip.
        round_trip: Duration,
    },
    /// The broker did not reply.
    Disconnected {
        /// The reason, short and without secrets.
        error: String,
    },
}

/// The reason why the broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection to the broker.
    #[error("the broker is not connected")]
    Away,
    /// The broker did not reply in time.
    #[error("the broker did not answer in time")]
    TimedOut,
    /// The broker refused the publication. The reason is short and without secrets.
    #[error("{0}")]
    Refused(String),
}
