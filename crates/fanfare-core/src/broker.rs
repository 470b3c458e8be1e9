//! The port to what carries events between nodes.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Channel, Entered, Entry, EntryTicket, Event, Member, Presence, PresenceCounts, Present, Slot, UserId,
};

/// A question, an answer or a notice with more bytes than this does not travel between nodes.
pub const MAX_MESSAGE_BYTES: usize = (8 << 20) - 4096;
/// How long the nodes' answers to a question are waited for.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long an id is remembered from when it was claimed.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(600);
/// How long an id stays taken that was claimed and not published: after that time its claimant has died. A broker that
/// dies with its node needs no such time.
pub const UNANSWERED_LIFETIME: Duration = Duration::from_secs(30);
/// How many ids one node's own memory holds, unless the configuration says otherwise. Above the limit the oldest claims
/// are evicted.
pub const MAX_CLAIMS: usize = 1_000_000;
/// How many notices one node keeps for nodes that have not received them. Above it (and above 64 MiB of them) the oldest are
/// dropped: a node that was away for so long never receives those.
pub const MAX_NOTICES: usize = 10_000;

/// A future on the heap, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries events to every node that holds a connection for them, this one included.
///
/// Every publish passes the broker, whatever door it came in by, so that one node and many share one path and one
/// source of order: events that one caller publishes to one audience are handed to [`Inbound`] in that order.
/// All that an event has arrives as it was, its data and metadata byte for byte.
/// A broker that is away loses no node its own connections: what is published meanwhile is handed to this node's
/// [`Inbound`], and the receipt says so.
pub trait Broker: Send + Sync {
    /// Publishes `events` in order and returns one receipt for each. They are placed at the call, in the order of
    /// calls; the future only waits for what becomes of them.
    fn publish(&self, events: Vec<Event>, options: PublishOptions) -> BoxFuture<'static, Vec<Receipt>>;

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

    /// Puts `question` to every node, this one included, and gathers what [`Inbound::answer`] says there. It takes
    /// [`ANSWER_PATIENCE`] at most.
    fn ask(&self, question: Bytes) -> BoxFuture<'_, Asked>;

    /// Delivers `notice` to every live node by [`Inbound::on_notice`], exactly once, one caller's notices in order.
    ///
    /// It is delivered to this node when the call returns. The others receive it soon, or as soon as they and this node can
    /// reach the broker again; of what waits for that, [`MAX_NOTICES`] are kept. A node that starts later never receives it.
    fn broadcast(&self, notice: Bytes);

    /// Claims each of `ids` for the caller: of all callers in the cluster that claim an id, one gets [`Claim::New`].
    /// Returns one claim for each, in order. An id is remembered for [`CLAIM_LIFETIME`] once it is published, and
    /// may be new again after [`UNANSWERED_LIFETIME`] until then.
    ///
    /// While the broker is away this node goes by its own memory, in which are the ids that were claimed here and those
    /// found taken, as many as the configuration allows; other nodes do not learn of what is claimed meanwhile. Where the
    /// future is dropped early, ids that it would have brought are released.
    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>>;

    /// Stores the receipts of ids that the caller has claimed and published, for all who claim them after it. Begun at the
    /// call; the future, which may be dropped, resolves when it is done as far as the broker can be reached. Ids that are
    /// forgotten stay so.
    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()>;

    /// Gives back ids that the caller has claimed and made nothing of, so that they are new again. Begun at the call, as
    /// [`Broker::record`] is. While the broker is away only this node learns of it, and others go on finding the id taken.
    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()>;

    /// How full this node's own memory of ids is.
    fn remembered_ids(&self) -> RememberedIds {
        RememberedIds::default()
    }

    /// What this node has counted of the broker.
    fn figures(&self) -> BrokerFigures {
        BrokerFigures::default()
    }

    // Presence: counted for all nodes together.

    /// A connection of this node enters a room. [`Inbound::entered`] is called for it in the order of deliveries: what is
    /// delivered before that call is not for the connection, what is delivered after it is. If it is the user's first in the
    /// cluster, the room's announcement ([`Inbound::announcement`]) is published then, once, and delivered after that call.
    ///
    /// While the broker is away, this node judges by what it knows itself.
    fn enter(&self, entry: Entry);

    /// A connection of `user` on this node leaves `room`; with the user's last one in the cluster the announcement is
    /// published, once. Placed at the call, in the order of calls of [`Broker::enter`] and [`Broker::leave`].
    fn leave(&self, room: Channel, user: UserId);

    /// The members of `room` that have a connection on this node, in no order.
    fn present(&self, room: &Channel) -> Vec<Present>;

    /// How many rooms have members on this node.
    fn rooms(&self) -> usize;

    /// What this node has done about presence since the start.
    fn presence_counts(&self) -> PresenceCounts {
        PresenceCounts::default()
    }

    /// Takes one of `most` places of `slot` for a connection of this node. Returns whether there was one: `false` if
    /// all nodes together hold as many already. The caller has counted its own node's before; while the broker is away,
    /// that count decides alone.
    fn acquire_slot(&self, slot: Slot, most: usize) -> BoxFuture<'static, bool>;

    /// Gives back what [`Broker::acquire_slot`] took.
    fn release_slot(&self, slot: Slot);

    /// Ends this node's part in the cluster: what was published, entered and left reaches the others, and its places are
    /// free at once. Resolves when that is done, or after a second at most.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Where a broker hands in the events that reached this node.
pub trait Inbound: Send + Sync {
    /// Delivers `events` in order to this node's connections, in the order of calls; resolves when each was queued or
    /// refused everywhere.
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>>;

    /// Counts publications that came in from outside, those that are rejected included.
    fn received(&self, publications: u64);

    /// Counts a publication that is not of the documented form and was dropped.
    fn rejected(&self);

    /// Goes once through the node's own delivery path, every shard included, without a connection noticing.
    ///
    /// # Errors
    /// When some part of it did not answer in time.
    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// This node's answer to a question that some node put to all ([`Broker::ask`]). One that takes longer than
    /// [`ANSWER_PATIENCE`], has more than [`MAX_MESSAGE_BYTES`] or panics is counted as missing.
    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes>;

    /// Handles a notice of some node ([`Broker::broadcast`]). It must not wait for anything: what this node delivers next
    /// waits for it.
    fn on_notice(&self, notice: Bytes);

    /// A connection has entered its room ([`Broker::enter`]). It is called in the order of [`Inbound::deliver`], and must not
    /// wait for anything.
    fn entered(&self, ticket: EntryTicket, entered: Entered);

    /// What is published in `room` when `member` enters it with a first connection, or leaves it with the last one; `None`
    /// for nothing. A node that cleans up after another calls it for users who were never connected to it.
    fn announcement(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event>;
}

/// What a node wants to receive. Events for everyone reach every node unasked, and an event that meets several interests
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

/// How events are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOptions {
    /// The caller needs to know which connections the events reach, so each node that delivers them replies. Otherwise no node
    /// does: the receipts count this node's connections at most, and come as soon as the broker carries the events and
    /// this node has delivered them.
    pub receipt: bool,
}

/// What became of a published event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The connections reached, on all nodes that answered.
    pub reach: Reach,
    /// How many nodes it was brought to; a broker may leave out those that did not ask for its audience.
    pub nodes: u32,
    /// The broker was away (or answered only in part): only the nodes counted are known to have it.
    pub degraded: bool,
}

/// What came of a question to every node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// This node's answer first, unless it failed, then the others' as they came.
    pub answers: Vec<Bytes>,
    /// Every node has answered. Otherwise some stayed out, or the broker is away.
    pub complete: bool,
}

/// The result of claiming an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's.
    New,
    /// Another caller claimed it and has not published its event yet.
    Taken,
    /// Its event was published. `None`: the receipt is not stored yet, and never will be if its publisher died. An event
    /// that was published on Redis itself, where no publisher waits for a receipt, has an empty one.
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

/// What a node has counted of its broker since the start. Each list is of a metric's label and the number for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFigures {
    /// Publications that other nodes may have missed, by cause.
    pub degraded: Vec<(&'static str, u64)>,
    /// Messages of other programs and nodes that were ignored, by reason.
    pub ignored: Vec<(&'static str, u64)>,
    /// The other nodes known now: those that are live, and those that may miss what is published.
    pub peers: Vec<(&'static str, u64)>,
    /// How often the connection that receives was opened again.
    pub reconnects: u64,
    /// Notices that other nodes will not receive.
    pub notices_dropped: u64,
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
    /// It refused to carry anything; why, in a few words and without secrets.
    #[error("{0}")]
    Refused(String),
}
