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

/// A question, an answer or a notice with more bytes than this does not travel between nodes.
pub const MAX_MESSAGE_BYTES: usize = (8 << 20) - 4096;
/// How long a node waits for the other nodes' answers to a question.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer to a subscription waits while a node renews its subscriptions.
pub const RENEWAL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a claimed id is remembered.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(600);
/// How long a claimed id stays taken if it is never published: after that time its claimant has died. An embedded
/// broker dies with its node and needs no such time.
pub const UNANSWERED_LIFETIME: Duration = Duration::from_secs(30);
/// The default number of ids in one node's own memory. Above the limit the oldest claims are evicted.
pub const MAX_CLAIMS: usize = 1_000_000;
/// How many notices one node keeps for nodes that have not received them. Above it (and above 64 MiB of them) the
/// oldest are dropped, and a node that could not receive them until then never does.
pub const MAX_NOTICES: usize = 10_000;

/// A boxed future, for trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries events to every node with a connection in their audience, including this one. Every publish passes the
/// broker, whatever its door, so that one node and many share one path and one source of order: the events that one
/// caller publishes to one audience reach [`Inbound`] in that order. Data and metadata arrive byte for byte. While the
/// broker is unavailable, a node serves its own connections: an event goes only to this node's [`Inbound`], and its
/// receipt is `degraded`.
pub trait Broker: Send + Sync {
    /// Publishes `events` in order and returns one receipt for each. The events are queued at the call, in the order of
    /// calls; the future only waits for the receipts.
    fn publish(&self, events: Vec<Event>, options: PublishOptions) -> BoxFuture<'static, Vec<Receipt>>;

    /// Requests that events for `interest` reach this node. The request is queued at the call, in the order of calls.
    /// The future resolves when it is in force, or at once while the broker is unavailable: the request is then
    /// repeated after the reconnect.
    fn subscribe(&self, interest: Interest) -> BoxFuture<'static, ()>;

    /// Returns `None` if all requests of [`Broker::subscribe`] are in force. While they are repeated after the connection to the
    /// broker was lost, returns what resolves when they are in force again, or when the broker is unavailable, or after
    /// [`RENEWAL_PATIENCE`].
    fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Withdraws the request of [`Broker::subscribe`].
    fn unsubscribe(&self, interest: Interest);

    /// Asks the broker for a reply and returns its state.
    fn health(&self) -> BoxFuture<'_, BrokerHealth>;

    /// Sends a probe through the broker and back to this node; returns the round trip.
    ///
    /// # Errors
    /// If the probe does not return in time.
    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>>;

    /// Asks every node, including this one, and collects the answers of [`Inbound::answer`] within [`ANSWER_PATIENCE`].
    fn ask(&self, question: Bytes) -> BoxFuture<'_, Asked>;

    /// Delivers `notice` by [`Inbound::on_notice`], exactly once: to this node before the call returns, to every other
    /// live node soon, or after a reconnect; up to [`MAX_NOTICES`] are kept until then. The notices of one caller keep
    /// their order.
    fn broadcast(&self, notice: Bytes);

    /// Claims each of `ids` for the caller: of all callers in the cluster that claim an id, exactly one gets
    /// [`Claim::New`]. Returns one claim for each, in order. A published id is remembered for [`CLAIM_LIFETIME`]; an
    /// unpublished one may be new again after [`UNANSWERED_LIFETIME`]. While the broker is unavailable, this node
    /// decides from its own memory: the ids that were claimed here and those found taken, as many as the configuration
    /// allows. Other nodes do not see these claims. If the future is dropped early, the ids that it would have returned
    /// are released.
    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>>;

    /// Stores the receipts of ids that the caller has claimed and published, for every later claimant. The work begins
    /// at the call; the future may be dropped. It resolves when the receipts are stored, as far as the broker can be
    /// reached. Forgotten ids stay forgotten.
    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()>;

    /// Releases ids that the caller has claimed and not published, so that they are new again. The work begins at the
    /// call, as with [`Broker::record`]. While the broker is unavailable, only this node releases them, and other nodes
    /// still find them taken.
    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()>;

    /// Returns how full this node's own memory of ids is.
    fn remembered_ids(&self) -> RememberedIds {
        RememberedIds::default()
    }

    /// Returns this node's figures about the broker.
    fn figures(&self) -> BrokerFigures {
        BrokerFigures::default()
    }

    /// Returns the round trips of this node's messages, sampled every few seconds; `None` if the broker is in this
    /// process.
    fn round_trips(&self) -> Option<&Histogram> {
        None
    }

    /// Reads kept events. The broker numbers, keeps and delivers each wanted event in one step, so that each node
    /// delivers in the order of the numbers. Events up to [`Replay::present`] were delivered before, or are on their
    /// way to this node.
    fn replay(&self, _query: ReplayQuery) -> BoxFuture<'static, Replay> {
        Box::pin(std::future::ready(Replay::unreachable()))
    }

    /// Returns this node's figures about the journal.
    fn journal_figures(&self) -> JournalFigures {
        JournalFigures::default()
    }

    // Presence: counted over all nodes.

    /// Enters a room with a connection of this node. [`Inbound::entered`] is called for it in the order of deliveries:
    /// the connection receives events that are delivered after that call, and none from before. If it is the user's
    /// first connection in the cluster, the room's announcement ([`Inbound::announcement`]) is then published once, and
    /// delivered after that call. While the broker is unavailable, this node decides by its own connections.
    fn enter(&self, entry: Entry);

    /// Leaves `room` with a connection of `user` on this node. With the user's last connection in the cluster, the
    /// announcement is published once. Queued at the call, in the order of calls of [`Broker::enter`] and
    /// [`Broker::leave`].
    fn leave(&self, room: Channel, user: UserId);

    /// Returns the members of `room` that have a connection on this node, in any order.
    fn present(&self, room: &Channel) -> Vec<Present>;

    /// Returns the number of rooms with members on this node.
    fn rooms(&self) -> usize;

    /// Returns this node's figures about presence since the start.
    fn presence_counts(&self) -> PresenceCounts {
        PresenceCounts::default()
    }

    /// Acquires one of the `most` places of `slot` for a connection of this node. Returns `false` if all nodes together
    /// already hold `most`. The caller has counted its own node's places before; while the broker is unavailable, only
    /// that count decides.
    fn acquire_slot(&self, slot: Slot, most: usize) -> BoxFuture<'static, bool>;

    /// Releases a place that [`Broker::acquire_slot`] acquired.
    fn release_slot(&self, slot: Slot);

    /// Leaves the cluster: all earlier publications, entries and departures reach the other nodes, and this node's
    /// slots are released. Resolves when that is done, or after at most five seconds; then the other nodes clean up the
    /// rest.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Receives from the broker, on behalf of one node.
pub trait Inbound: Send + Sync {
    /// Delivers `events` to this node's connections in order. Resolves when every shard has queued or refused them.
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>>;

    /// Counts publications that arrived from outside, including rejected ones.
    fn received(&self, publications: u64);

    /// Counts a publication that was dropped because it is not of the documented form.
    fn rejected(&self);

    /// Passes once through the node's own delivery path, including every shard, without sending anything to
    /// connections.
    ///
    /// # Errors
    /// If a part of it does not answer in time.
    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Returns this node's answer to a question ([`Broker::ask`]). An answer that takes longer than
    /// [`ANSWER_PATIENCE`], has more than [`MAX_MESSAGE_BYTES`] or panics is counted as missing.
    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes>;

    /// Handles a notice ([`Broker::broadcast`]). It must not wait: this node's next delivery waits for it.
    fn on_notice(&self, notice: Bytes);

    /// A connection has entered its room ([`Broker::enter`]). Called in the order of [`Inbound::deliver`]; must not
    /// wait.
    fn entered(&self, ticket: EntryTicket, entered: Entered);

    /// Returns the event that is published in `room` when `member` enters it with a first connection, or leaves it with
    /// the last one; `None` for no event. A node that cleans up after a dead one calls it for users who were never
    /// connected to it.
    fn announcement(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event>;

    /// Returns the retention of `audience`; `None` if it has no history.
    fn retention(&self, _audience: &Audience) -> Option<Retention> {
        None
    }

    /// Returns whether any audience may have history.
    fn keeps_history(&self) -> bool {
        false
    }

    /// Is called when events for connections of this node are lost, in the order of [`Inbound::deliver`]: before the
    /// next event that is not lost. It must not wait.
    fn on_gap(&self, _gap: Gap) {}
}

/// Events that were lost on the way to a node and are in no journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Their audience; `None` if any audience may have lost some.
    pub audience: Option<Audience>,
    /// No event is lost after this number.
    pub present: Cursor,
    /// Why they cannot be read.
    pub reason: Unrecovered,
}

/// The events that a node wants to receive. Events for everyone reach every node without a request. An event that meets
/// several interests is delivered once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Events for this user.
    User(UserId),
    /// Events on this channel.
    Channel(Channel),
    /// Events on every channel, for a node that holds at least one pattern. Exact channels are also requested, so that
    /// they continue after the last pattern has gone.
    AllChannels,
}

/// How many of one node's connections an event reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Connections that should receive it.
    pub matched: u64,
    /// Connections to which it was written or queued.
    pub queued: u64,
    /// Connections that could not take it because their queue was full.
    pub dropped: u64,
}

impl std::ops::AddAssign for Reach {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}

/// How events are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOptions {
    /// The caller needs the receipts, so each node that delivers the events replies. If `false`, no node replies: the
    /// receipts count this node's connections at most, and resolve as soon as the broker carries the events and this
    /// node has delivered them.
    pub receipt: bool,
}

/// How many connections a published event reached, on how many nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The connections reached, on all nodes that answered.
    pub reach: Reach,
    /// The number of nodes that received it; a broker may leave out those that did not request its audience.
    pub nodes: u32,
    /// The broker was unavailable or answered in part: only the counted nodes are known to have received it.
    pub degraded: bool,
    /// This call did not publish the event: its id was published before, or earlier in the same call. The other fields
    /// are the first publication's. A broker's own receipts are never duplicates.
    pub is_duplicate: bool,
}

/// The answers of all nodes to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// This node's answer first, unless it failed; then the others' in order of arrival.
    pub answers: Vec<Bytes>,
    /// Every node has answered. Otherwise answers are missing, or the broker is unavailable.
    pub complete: bool,
}

/// The result of claiming an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The caller now holds the id.
    New,
    /// Another caller claimed it and has not published its event yet.
    Taken,
    /// Its event was published. `None`: the receipt is not stored yet, and never will be if its publisher died. An
    /// event that was published on Redis itself, where no publisher waits for a receipt, has an empty one.
    Published(Option<Receipt>),
}

/// How full a node's own memory of ids is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RememberedIds {
    /// The ids held now.
    pub held: u64,
    /// The ids evicted before their time since the start, because newer ones needed the space.
    pub evicted: u64,
}

/// A node's figures about its broker since the start. Each list has a metric's label and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFigures {
    /// Publications that other nodes may have missed, by cause.
    pub degraded: Vec<(&'static str, u64)>,
    /// Messages of other programs and nodes that were ignored, by reason.
    pub ignored: Vec<(&'static str, u64)>,
    /// The other nodes known now: live ones, and those that may miss events.
    pub peers: Vec<(&'static str, u64)>,
    /// Other nodes that went away without a farewell.
    pub peers_lost: u64,
    /// Whether there is no connection to the broker now.
    pub is_away: bool,
    /// How often the receiving connection was opened again.
    pub reconnects: u64,
    /// Notices that other nodes will not receive.
    pub notices_dropped: u64,
}

/// The state of the broker.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerHealth {
    /// It is part of this process.
    Embedded,
    /// The broker answered.
    Connected {
        /// The round trip.
        round_trip: Duration,
    },
    /// The broker did not answer.
    Disconnected {
        /// The reason, in a few words and without secrets.
        error: String,
    },
}

/// Why the broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection to the broker.
    #[error("the broker is not connected")]
    Away,
    /// The broker did not answer in time.
    #[error("the broker did not answer in time")]
    TimedOut,
    /// The broker refused the publication; the reason, in a few words and without secrets.
    #[error("{0}")]
    Refused(String),
}
