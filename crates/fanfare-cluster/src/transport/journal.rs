//! The port to the journal that the nodes share: which events are kept, in which order.
//!
//! [`Sender::publish`](super::Sender::publish) is its one writing call. A message with [`Message::keep`](super::Message::keep) gets its
//! number, is kept and is published in one step, so that every receiver gets the messages of the journal in the order of their
//! numbers, each with its place ([`Received::position`](super::Received::position)). A message that the journal refuses to keep is
//! published without a place.
//!
//! # What a store promises
//!
//! - Numbers begin at 1 and grow. They need not be dense.
//! - `prev` is the number of the audience's message before. It stands with the message, so that a reader knows whether something is
//!   missing between two; a store that has forgotten it says a higher number, never a lower one.
//! - Of an audience, the newest [`Retention::size`](fanfare_core::history::Retention) messages are kept; what is older than `ttl` is
//!   not returned, by the store's own clock. The audience's last number outlives its messages, for as long as there is room for it.
//! - The epoch is another one as soon as something may be lost that was numbered: the store's memory is empty, or an older copy of it
//!   took over.
//! - What is found in the store's places of others' making is ignored.

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
    /// Whose it is.
    pub audience: Audience,
    /// The message as it was published.
    pub payload: Bytes,
    /// Its place.
    pub position: Position,
}

/// What a store returns for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplay {
    /// Where the journal was when it was read.
    pub present: Cursor,
    /// As in [`Replay`](fanfare_core::journal::Replay).
    pub unrecovered: Option<Unrecovered>,
    /// Behind a lower number, publications are missing that were never kept.
    pub floor: u64,
    /// The messages, in the order that the question asks for.
    pub messages: Vec<StoredMessage>,
}

/// The last numbers of audiences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tops {
    /// Where the journal was when it was read.
    pub present: Cursor,
    /// For each audience that was asked for, in order; 0 for one of which nothing is known.
    pub tops: Vec<u64>,
    /// The channels with a number behind the one that was asked with, each with its last number.
    pub others: Vec<(Audience, u64)>,
    /// No audience of which nothing is known has a higher number.
    pub forgotten: u64,
    /// Behind a lower number, publications are missing that were never kept.
    pub floor: u64,
    /// How many audiences the journal knows; 0 if it does not count them.
    pub journals: u64,
}

/// The journal behind a connection that publishes.
pub trait JournalStore: Send + Sync {
    /// Answers a question: which messages, and whether they are all that there were
    /// ([`is_complete`](fanfare_core::journal::is_complete)).
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    fn read<'a>(&'a self, query: &'a ReplayQuery) -> BoxFuture<'a, Result<StoredReplay, Failed>>;

    /// Returns the last numbers of `audiences`, by which a node finds that it has missed the last event before silence, and the
    /// channels with a number above `behind`.
    ///
    /// # Errors
    /// As [`JournalStore::read`].
    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>>;

    /// The election of the node that records plain publications; `None` if there are none.
    fn recorder(&self) -> Option<&dyn RecorderStore> {
        None
    }
}
