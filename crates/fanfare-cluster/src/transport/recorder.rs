//! The port to the election of the node that records plain publications: events that backends publish on the transport itself.
//!
//! A *tick* is a number that the store counts up, and publishes to all nodes between the plain publications. Time is counted in ticks, so
//! no clock decides whether a publication is recorded: a publication that arrived after tick `n` may be recorded up to tick `n +`
//! [`RECORDED_WITHIN`]; later the store refuses it. A node that receives a later tick has received the recorded copy before, or there is none.

use fanfare_core::BoxFuture;

use super::{Failed, Message};

/// The ticks within which a plain publication may be recorded: a lease, and time for the standby to take over.
pub const RECORDED_WITHIN: u64 = 6;
/// The ticks after which a lease expires without a renewal.
pub const LEASE_TICKS: u64 = 3;

/// A node's request with a tick.
#[derive(Debug, Clone, Default)]
pub struct TickRequest {
    /// A candidate for the lease: a connection that receives all plain publications. With `None`, the request only reads the state.
    pub candidate: Option<u64>,
    /// All publications that arrived before this tick are settled: recorded, or too late.
    pub settled: u64,
    /// Whether to begin a new term, because the records of the last one are unknown.
    pub renews_term: bool,
    /// Whether to release the lease.
    pub leaves: bool,
    /// Whether plain publications were delivered and not recorded: earlier cursors expire.
    pub has_lost: bool,
    /// The beginning and the end of the message to all nodes. Between them are the tick, a comma, and the state of the lease: held (1),
    /// vacant (0), or held by a new term that records nothing from before this tick (2).
    pub text: (&'static str, &'static str),
}

/// The state of the lease in a tick: no node holds it.
pub(crate) const VACANT: u8 = 0;
/// The state of the lease in a tick: a new term holds it, which records no earlier publication.
pub(crate) const BEGINS_ANEW: u8 = 2;

/// The role of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It records.
    Holder,
    /// It takes over if the holder does not renew its lease.
    Standby,
    /// Neither; `true` if a standby is needed.
    None(bool),
}

/// The answer to a [`TickRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// The candidate's role now.
    pub role: Role,
    /// The last tick.
    pub tick: u64,
    /// The holder's term.
    pub term: u64,
    /// The holder records publications that arrive after this tick; 0 if it has received all that its predecessor did not record.
    pub from: u64,
    /// All publications that arrived before this tick are settled.
    pub settled: u64,
    /// Whether the recorder has ever recorded or lost a publication, or an operator has declared that backends publish. Until then the end of
    /// a term does not raise the floor: otherwise the restart of a single node would expire all cursors, although no backend publishes on
    /// the transport. The price: publications before the first recorded one are lost if no recorder runs and no connection receives them,
    /// and earlier cursors are recovered without them.
    pub is_used: bool,
}

/// The result of [`RecorderStore::record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The messages that the journal accepts are recorded, and all are published.
    Published,
    /// The messages are too old. Earlier cursors expire.
    Late,
    /// The term is over.
    TermOver,
}

/// The store of the election, and of the recorded publications.
pub trait RecorderStore: Send + Sync {
    /// Counts up the tick if its period is over, and renews or acquires the lease.
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    fn tick<'a>(&'a self, request: &'a TickRequest) -> BoxFuture<'a, Result<Ticked, Failed>>;

    /// Numbers, keeps and publishes all of `messages`, which arrived after `tick`, or none if `term` is over.
    ///
    /// # Errors
    /// As [`RecorderStore::tick`]. The messages may then have been recorded.
    fn record<'a>(
        &'a self,
        term: u64,
        tick: u64,
        messages: &'a [Message],
    ) -> BoxFuture<'a, Result<Recorded, Failed>>;
}
