//! The port to the journal that the nodes share.
//!
//! Only [`Sender::publish`](super::Sender::publish) writes to the journal. It numbers, keeps and publishes a message with
//! [`Message::keep`](super::Message::keep) in one step. So every receiver gets the messages of the journal in the order of their numbers,
//! each with its place ([`Received::position`](super::Received::position)). A message that the journal refuses to keep is published
//! without a place.
//!
//! # Guarantees of a store
//!
//! - Numbers begin at 1 and increase. There may be gaps between them.
//! - `prev` is the number of the audience's previous message. The store keeps it with the message, so that a reader detects missing
//!   messages. If the store has evicted it, it returns a higher number, never a lower one.
//! - The store keeps the newest [`Retention::size`](fanfare_core::history::Retention) messages of an audience, and does not return
//!   messages older than `ttl` by its own clock. The audience's last number outlives its messages, as long as there is room for it.
//! - The epoch changes as soon as numbered messages may be lost: the store is empty, or an older copy of it took over.
//! - The store ignores values that other programs wrote.

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture,
    history::{Cursor, Position, Unrecovered},
    journal::ReplayQuery,
};

use super::{Failed, RecorderStore};

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message's audience.
    pub audience: Audience,
    /// The message as it was published.
    pub payload: Bytes,
    /// The message's place.
    pub position: Position,
}

/// The reply to a [`ReplayQuery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplay {
    /// The journal's cursor at the time of the read.
    pub present: Cursor,
    /// As in [`Replay`](fanfare_core::journal::Replay).
    pub unrecovered: Option<Unrecovered>,
    /// Behind any lower number, publications are missing that were never kept.
    pub floor: u64,
    /// The messages, in the order of the query.
    pub messages: Vec<StoredMessage>,
}

/// The last numbers of audiences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tops {
    /// The journal's cursor at the time of the read.
    pub present: Cursor,
    /// The last number of each requested audience, in order; 0 if the journal has none.
    pub tops: Vec<u64>,
    /// The channels with a number above the requested one, each with its last number.
    pub others: Vec<(Audience, u64)>,
    /// The upper bound of the last numbers that the journal has evicted.
    pub forgotten: u64,
    /// Behind any lower number, publications are missing that were never kept.
    pub floor: u64,
    /// The number of audiences in the journal; 0 if it does not count them.
    pub journals: u64,
}

/// The journal behind a connection that publishes.
pub trait JournalStore: Send + Sync {
    /// Returns the messages that match `query`, and whether they are complete ([`is_complete`](fanfare_core::journal::is_complete)).
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    fn read<'a>(&'a self, query: &'a ReplayQuery) -> BoxFuture<'a, Result<StoredReplay, Failed>>;

    /// Returns the last numbers of `audiences`, and the channels with a number above `behind`. A node thereby detects a missed event
    /// that no later event follows.
    ///
    /// # Errors
    /// As [`JournalStore::read`].
    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>>;

    /// Returns the election of the node that records plain publications; `None` if the transport has no such publications.
    fn recorder(&self) -> Option<&dyn RecorderStore> {
        None
    }
}
