//! The ports: a transport, which carries bytes on subjects, and the stores of ids and of presence that it offers.
//!
//! A transport opens connections and reports their end. What is sent on them, when a connection is opened again, and what
//! is resubscribed then is decided here, once for all transports.

pub mod journal;
pub mod presence;
pub mod recorder;

use std::time::Instant;

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Claim, Interest, Receipt,
    history::{Position, Retention},
};
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use uuid::Uuid;

use crate::wire::Rejected;
pub use journal::JournalStore;
pub use presence::PresenceStore;
pub use recorder::RecorderStore;

/// Why a connection cannot be used, in a few words and without secrets.
pub type Failed = String;

/// What messages are published on. Each transport has its own names for these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Events for one audience.
    Audience(Audience),
    /// Bodies of the service API.
    Events,
    /// Events on every channel: subscribed to, never published on.
    AllChannels,
    /// Events for every user: subscribed to, never published on.
    AllUsers,
    /// Messages to all nodes.
    Nodes,
    /// Messages to the node of this name.
    Node(Box<str>),
}

/// A system that carries messages between nodes.
pub trait Transport: Send + Sync {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Where it is now: host and port, without secrets.
    fn address(&self) -> String;

    /// Whether all receivers get the messages of all senders in one order. If not, they get those of each sender in its order, and
    /// a message that was published before a subscription may arrive by an older one after it.
    fn has_one_order(&self) -> bool {
        true
    }

    /// Whether backends publish events on it past all nodes, which one of them records ([`RecorderStore`]).
    fn has_plain_publications(&self) -> bool {
        false
    }

    /// Opens a connection that publishes.
    fn open_sender(&self) -> BoxFuture<'_, Result<Box<dyn Sender>, Failed>>;

    /// Opens a connection that receives.
    fn open_receiver(&self) -> BoxFuture<'_, Result<Receiver, Failed>>;
}

/// A connection that publishes.
pub trait Sender: Send + Sync {
    /// Publishes `messages` in order, all in one go, and counts right behind them who is subscribed to each of `counted`.
    ///
    /// Messages that one sender publishes reach each receiver in that order, on whichever subjects.
    fn publish<'a>(&'a self, messages: &'a [Message], counted: &'a [Subject]) -> BoxFuture<'a, Batch>;

    /// Waits for a sign of life. Any reply of the server is one, an error too.
    ///
    /// # Errors
    /// When the connection is lost.
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>>;

    /// The store of idempotency keys behind this connection.
    fn ids(&self) -> &dyn IdStore;

    /// The store of presence behind this connection; `None` if the transport has none, and each node counts its own
    /// connections alone.
    fn presence(&self) -> Option<&dyn PresenceStore> {
        None
    }

    /// The journal behind this connection; `None` if the transport has none, and nothing is kept.
    fn journal(&self) -> Option<&dyn JournalStore> {
        None
    }
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where.
    pub subject: Subject,
    /// What.
    pub payload: Bytes,
    /// The claimed id of the event in it. The store notes right behind the message that the id is published: a process that
    /// ends must not come in between, or another node publishes the event again.
    pub id: Option<Uuid>,
    /// How much the journal keeps of its audience, this message included: it is numbered, kept and published in one step. Without
    /// it, or without a [`JournalStore`], it is only published.
    pub keep: Option<Retention>,
}

/// What became of messages that were published in one go, and how many are subscribed to each subject that was to be counted, or why
/// the server refused to count; nothing if the transport does not know.
pub type Batch = (Vec<Published>, Result<Vec<u32>, Failed>);

/// What became of a message.
pub type Published = Result<Accepted, PublishError>;

/// A message that the transport carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// How many receivers it goes to; `None` if the transport does not know.
    pub listeners: Option<u32>,
    /// Why the store of ids refused to note its id.
    pub id_refused: Option<String>,
    /// Its number in the journal, if it is kept.
    pub position: Option<Position>,
    /// Why the journal did not keep it, though it should have.
    pub unkept: Option<String>,
}

/// A message that the transport may not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The server refused it; why, without secrets.
    Refused(String),
    /// The connection was lost; whether the message was published is not known.
    Lost,
}

/// A connection that receives.
pub struct Receiver {
    /// What it is subscribed to.
    pub subscriber: Box<dyn Subscriber>,
    /// What arrives; ends with the connection.
    pub messages: BoxStream<'static, Received>,
    /// The state of what arrives by further connections; `None` if nothing does.
    pub further: Option<watch::Receiver<Further>>,
}

/// The state of subscriptions that the receiving connection does not have itself: they are lost and renewed without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Further {
    /// They are in force, or the server does not offer them.
    InForce,
    /// They were in force, and are renewed.
    Renewing,
    /// They could not be renewed. It is tried again and again.
    Away,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Received {
    /// Where it was published.
    pub subject: Result<Subject, Rejected>,
    /// It came by the subscription to [`Subject::AllChannels`].
    pub by_all_channels: bool,
    /// It came by a sharded channel of a Redis Cluster, which has no common order with other subjects. The recorder does not receive it.
    pub is_sharded: bool,
    /// The message.
    pub payload: Bytes,
    /// The version of the transition in a room that the message announces, if the transport knows it better than the message:
    /// [`presence::AnnouncementText`] was written before it was known.
    pub version: Option<u64>,
    /// Its place in the journal, if it is kept.
    pub position: Option<Position>,
}

/// The subscriptions of a connection that receives. A change is in force when its future resolves.
pub trait Subscriber: Send + Sync {
    /// Subscribes to `subjects`.
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>>;

    /// Unsubscribes from `subjects`.
    ///
    /// # Errors
    /// As [`Subscriber::subscribe`].
    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>>;

    /// Waits for a sign of life, as [`Sender::check`] does.
    ///
    /// # Errors
    /// When the connection is lost.
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>>;
}

/// The idempotency keys that the cluster shares.
pub trait IdStore: Send + Sync {
    /// Claims each of `ids`; one answer for each, `None` where the store gave none. Either all of them arrived or none.
    ///
    /// Ids that arrived are claimed together with all nodes that received the same message: a node that was receiving when
    /// another node claimed an id has received that very message, so the id is new to it, too.
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>>;

    /// Stores the receipts of published ids that are still remembered.
    fn settle<'a>(&'a self, receipts: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>>;

    /// Forgets `ids`.
    fn release<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Stored<()>>;
}

/// What a store returns, and why it refused a part of what was asked.
#[derive(Debug, Default)]
pub struct Stored<T> {
    /// What it returns.
    pub value: T,
    /// The last refusal.
    pub refused: Option<String>,
    /// The connection was lost.
    pub lost: bool,
}

impl<T> Stored<T> {
    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Stored<U> {
        Stored {
            value: change(self.value),
            refused: self.refused,
            lost: self.lost,
        }
    }
}

/// An id to claim.
#[derive(Debug, Clone, Copy)]
pub struct WantedId {
    /// The id.
    pub id: Uuid,
    /// No later than the opening of the connection that it arrived on, if it arrived with an event that no node published.
    pub receiving_since: Option<Instant>,
}

impl From<&Interest> for Subject {
    fn from(interest: &Interest) -> Self {
        match interest {
            Interest::User(user) => Self::Audience(Audience::User(user.clone())),
            Interest::Channel(channel) => Self::Audience(Audience::Channel(channel.clone())),
            Interest::AllChannels => Self::AllChannels,
        }
    }
}
