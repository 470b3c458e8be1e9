//! The ports: a transport, which carries bytes on subjects, and the stores of ids and of presence that it offers.
//!
//! A transport opens connections and reports their end. This crate decides once for all transports what is sent, when a connection is
//! opened again, and what it then subscribes to.

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

/// The reason why a connection cannot be used, in a few words and without secrets.
pub type Failed = String;

/// The subject of a message. Each transport has its own names for subjects.
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
    /// Returns the transport's name for the log.
    fn name(&self) -> &'static str;

    /// Returns the present server: host and port, without secrets.
    fn address(&self) -> String;

    /// Returns whether all receivers get the messages of all senders in one order. If not, they get the messages of each sender in its
    /// order, and an older subscription may deliver a message that was published before a newer subscription after it.
    fn has_one_order(&self) -> bool {
        true
    }

    /// Returns whether backends may publish events on the transport itself, which one node records ([`RecorderStore`]).
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
    /// Publishes `messages` in order, in one batch, and then counts the subscribers of each of `counted`.
    ///
    /// Messages of one sender reach each receiver in the order of publication, over all subjects.
    fn publish<'a>(&'a self, messages: &'a [Message], counted: &'a [Subject]) -> BoxFuture<'a, Batch>;

    /// Waits for any reply of the server, including an error.
    ///
    /// # Errors
    /// When the connection is lost.
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>>;

    /// Returns the store of idempotency keys behind this connection.
    fn ids(&self) -> &dyn IdStore;

    /// Returns the store of presence behind this connection. Without one (`None`), each node counts only its own connections.
    fn presence(&self) -> Option<&dyn PresenceStore> {
        None
    }

    /// Returns the journal behind this connection. Without one (`None`), no event is kept.
    fn journal(&self) -> Option<&dyn JournalStore> {
        None
    }
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subject to publish on.
    pub subject: Subject,
    /// The content.
    pub payload: Bytes,
    /// The claimed id of the event. The transport marks the id as published in the same step: if the process ended between the two,
    /// another node would publish the event again.
    pub id: Option<Uuid>,
    /// The retention of the audience, if the journal keeps the message: it is numbered, kept and published in one step. Without a
    /// [`JournalStore`] it is only published.
    pub keep: Option<Retention>,
}

/// The results of a batch of messages, and the numbers of subscribers of the counted subjects, or why the server refused to count. The
/// numbers are empty if the transport does not count.
pub type Batch = (Vec<Published>, Result<Vec<u32>, Failed>);

/// The result of publishing a message.
pub type Published = Result<Accepted, PublishError>;

/// A message that the transport carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The number of receivers; `None` if the transport does not know.
    pub listeners: Option<u32>,
    /// Why the store of ids refused to store the message's id.
    pub id_refused: Option<String>,
    /// The message's number in the journal, if it is kept.
    pub position: Option<Position>,
    /// Why the journal refused to keep the message.
    pub unkept: Option<String>,
}

/// A message that the transport may not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The server refused it, for this reason. The text has no secrets.
    Refused(String),
    /// The connection was lost. The message may have been published.
    Lost,
}

/// A connection that receives.
pub struct Receiver {
    /// The connection's subscriptions.
    pub subscriber: Box<dyn Subscriber>,
    /// The messages that arrive. The stream ends with the connection.
    pub messages: BoxStream<'static, Received>,
    /// The state of the subscriptions on further connections, if the transport has any.
    pub further: Option<watch::Receiver<Further>>,
}

/// The state of subscriptions on further connections, which are lost and renewed independently of the receiving connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Further {
    /// They are in force, or the server does not offer them.
    InForce,
    /// They were in force, and are being renewed.
    Renewing,
    /// They could not be renewed. The transport retries.
    Away,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Received {
    /// The subject that the message was published on.
    pub subject: Result<Subject, Rejected>,
    /// Whether the subscription to [`Subject::AllChannels`] delivered it.
    pub by_all_channels: bool,
    /// Whether a sharded channel of a Redis Cluster delivered it. Such a channel has no common order with other subjects, and the
    /// recorder does not receive it.
    pub is_sharded: bool,
    /// The content.
    pub payload: Bytes,
    /// The version of the announced transition in a room, if the transport assigned it after [`presence::AnnouncementText`] was written.
    pub version: Option<u64>,
    /// The message's place in the journal, if it is kept.
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

    /// Waits for any reply of the server, as [`Sender::check`] does.
    ///
    /// # Errors
    /// When the connection is lost.
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>>;
}

/// The idempotency keys that the cluster shares.
pub trait IdStore: Send + Sync {
    /// Claims `ids`. Returns one answer for each, `None` if the store did not answer. Either all of the ids were received with messages, or
    /// none ([`WantedId::receiving_since`]).
    ///
    /// All nodes that received the same message claim a received id together: if a node was receiving when another node claimed the id,
    /// it has received that message, so the id is new to it as well.
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>>;

    /// Stores the receipts of published ids that the store still remembers.
    fn settle<'a>(&'a self, receipts: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>>;

    /// Forgets `ids`.
    fn release<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Stored<()>>;
}

/// The reply of a store, and its refusal of a part of the request.
#[derive(Debug, Default)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// The last refusal.
    pub refused: Option<String>,
    /// Whether the connection was lost.
    pub lost: bool,
}

impl<T> Stored<T> {
    /// Replaces the value by `change` of it.
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
    /// For the id of an event that no node published: a time before the connection that it arrived on was opened.
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
