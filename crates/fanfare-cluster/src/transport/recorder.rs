//! The port to the election of the node that records plain publications: events that backends publish on the transport itself, past all
//! nodes.
//!
//! A *tick* is a number that the store counts up, and publishes to all nodes between the plain publications. Time is counted in ticks, so no
//! clock decides whether a publication is recorded: one that arrived after tick `n` may be recorded up to tick `n +` [`RECORDED_WITHIN`],
//! and the store refuses it later. A node that receives a later tick has received the recorded copy before, or there is none.

use fanfare_core::BoxFuture;

use super::{Failed, Message};

/// For how many ticks a plain publication may be recorded: as long as a lease lasts, and time for the standby to take over.
pub const RECORDED_WITHIN: u64 = 6;
/// For how many ticks a lease lasts that is not renewed.
pub const LEASE_TICKS: u64 = 3;

/// What a node asks for with a tick.
#[derive(Debug, Clone, Default)]
pub struct TickRequest {
    /// A candidate for the lease: a connection that receives all plain publications. `None` only asks who holds it.
    pub candidate: Option<u64>,
    /// Everything that arrived before this tick is settled: recorded, or too late.
    pub settled: u64,
    /// Asks for a new term: it is not known what the last one has recorded.
    pub renews_term: bool,
    /// Releases the lease.
    pub leaves: bool,
    /// Plain publications were delivered without being recorded: cursors from before expire.
    pub has_lost: bool,
    /// What all nodes receive stands between these: the tick, a comma, and whether the lease is held (1), vacant (0), or
    /// held by a new term that records nothing from before this tick (2).
    pub text: (&'static str, &'static str),
}

/// In a tick: no node holds the lease.
pub(crate) const VACANT: u8 = 0;
/// In a tick: a new term holds it that records nothing from before.
pub(crate) const BEGINS_ANEW: u8 = 2;

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It records.
    Holder,
    /// It takes over if the holder does not renew its lease.
    Standby,
    /// Nothing; `true` if it is needed.
    None(bool),
}

/// The answer to a [`TickRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// What the candidate is now.
    pub role: Role,
    /// The last tick.
    pub tick: u64,
    /// The holder's term.
    pub term: u64,
    /// The holder records what arrives behind this tick; 0 if it has received everything that its predecessor did not record.
    pub from: u64,
    /// Everything that arrived before this tick is settled.
    pub settled: u64,
    /// Whether the recorder has ever recorded or lost a publication, or an operator has declared that backends publish. Until then the end of
    /// a term does not raise the floor. Otherwise the restart of a single node would expire all cursors, although no backend publishes past
    /// it. The price: a node does not know of the first publications if they come while no recorder runs and no connection receives them. It
    /// then recovers earlier cursors without them.
    pub is_used: bool,
}

/// What became of messages that were to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// They are recorded, as far as the journal accepts them, and published.
    Published,
    /// They are too old. Cursors from before expire.
    Late,
    /// The term is over.
    TermOver,
}

/// See the module's documentation.
pub trait RecorderStore: Send + Sync {
    /// Counts up the tick if it is time, and renews or acquires the lease.
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    fn tick<'a>(&'a self, request: &'a TickRequest) -> BoxFuture<'a, Result<Ticked, Failed>>;

    /// Numbers, keeps and publishes `messages`, which arrived after `tick`, all or none, if `term` is not over.
    ///
    /// # Errors
    /// As [`RecorderStore::tick`]. Then it is not known whether they are recorded.
    fn record<'a>(
        &'a self,
        term: u64,
        tick: u64,
        messages: &'a [Message],
    ) -> BoxFuture<'a, Result<Recorded, Failed>>;
}
