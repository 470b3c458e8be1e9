//! The port to the store of presence: the users that each node holds in rooms, and its slots.
//!
//! A *record* is one user in one room, or one slot. It lists its *holders*: the leases of the nodes that have a connection
//! there. A *lease* is one run of one node; it expires if the node does not renew it. The cluster crate decides which records change,
//! which changes are announced, and which node cleans up. A store keeps the records and gives the guarantees of each method.
//!
//! # Separate records
//!
//! No method changes two records atomically, and none reads a lease together with a record. So a store may keep each record separately
//! (in a slot of Redis Cluster, in a key of a NATS bucket). Two rules connect them:
//!
//! - The *index* of a lease names every record that the lease may hold. The store writes an index entry before the record,
//!   and removes it after the record. So a dead lease's index may name too many records, never too few.
//! - The *term* of a lease ([`Lease::until`]) fences late writes: see [`PresenceStore::apply`].
//!
//! # Time
//!
//! Only the store's clock counts. Nodes pass durations, and times that the store returned, which they do not interpret.
//!
//! # Foreign values
//!
//! A store ignores values that other programs or versions wrote: they are no holder, no lease and no index entry. If a value has the wrong
//! type, the store refuses only the changes of that value.

use std::{fmt, str::FromStr, time::Duration};

use fanfare_core::{BoxFuture, Channel, Member, Slot, SlotScope, UserId};

use super::Stored;
pub use crate::wire::AnnouncementText;

/// The time after its renewal at which a lease expires.
pub const LEASE_LIFETIME: Duration = Duration::from_secs(5);
/// The time after which a claim to clean up a dead lease expires. A cleaner claims again before each batch.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(5);
/// The time for which the store remembers that a lease was cleaned up.
pub const CLEANED_MEMORY: Duration = Duration::from_secs(3600);

/// The name of a lease: one run of one node. Its text is 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text names no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 16 hexadecimal digits")]
pub struct BadLease;

impl FromStr for LeaseId {
    type Err = BadLease;

    fn from_str(text: &str) -> Result<Self, BadLease> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(BadLease);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadLease)
    }
}

/// The name of a slot, which a store does not interpret: any text, line breaks included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotName(Box<str>);

impl SlotName {
    /// Returns the slot of that name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&Slot> for SlotName {
    fn from(slot: &Slot) -> Self {
        let scope = match slot.scope {
            SlotScope::Name => "name",
            SlotScope::User => "user",
        };
        Self(format!("{scope}:{}:{}", slot.dialect, slot.name).into())
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lease, and the end of its term that the store last confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The lease's name.
    pub id: LeaseId,
    /// The end of its term, by the store's clock and in the store's unit; 0 for a lease that was never acquired.
    pub until: u64,
}

/// The result of [`PresenceStore::renew`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for [`LEASE_LIFETIME`] from now.
    Renewed {
        /// The new end of its term.
        until: u64,
        /// The leases that have expired, or that a cleaner claimed for longer than [`CLAIM_LIFETIME`] ago and did not finish.
        /// This one is never among them.
        expired: Vec<LeaseId>,
    },
    /// The lease has ended for good.
    Gone {
        /// Whether another node claimed its cleaning within [`CLEANED_MEMORY`], so the ends of its memberships are or will be announced.
        /// If not, the store has lost the lease, and perhaps all data.
        cleaned: bool,
    },
}

/// A change of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The lease holds `member` in `room`. A transition if no lease held the user there before.
    Enter {
        /// The room.
        room: Channel,
        /// The user.
        member: Member,
        /// The time of the user's entry by the node's clock, in milliseconds since 1970; kept for display.
        since_ms: u64,
        /// Published if it is a transition.
        announcement: Option<AnnouncementText>,
        /// Whether [`Applied::Room`] lists the room.
        list: bool,
    },
    /// The lease no longer holds `user` in `room`. A transition if no lease holds the user there afterwards, and this lease held the user
    /// before or `even_if_unheld` is set.
    Leave {
        /// The room.
        room: Channel,
        /// The user.
        user: UserId,
        /// Published if it is a transition.
        announcement: Option<AnnouncementText>,
        /// Whether the caller knows that the lease held the user: a missing record is then one that the store has lost.
        even_if_unheld: bool,
    },
    /// From now on the lease holds `count` places of `slot`.
    Slot {
        /// The slot.
        slot: SlotName,
        /// The total number of places, not the difference.
        count: u32,
        /// The limit of all leases together. Above it the store refuses the change, unless the lease already holds as many places.
        most: Option<u32>,
    },
}

impl Change {
    /// Returns whether the lease holds the record afterwards.
    pub fn takes(&self) -> bool {
        match self {
            Self::Enter { .. } => true,
            Self::Leave { .. } => false,
            Self::Slot { count, .. } => *count > 0,
        }
    }
}

/// The result of a [`Change`].
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The store skipped this change and later changes of the same record: the lease's term is over by the store's clock, or other nodes
    /// repeatedly changed the record first. Retry the change.
    Fenced,
    /// A room's record was changed.
    Room {
        /// Whether it was a transition.
        transition: bool,
        /// The room's members, if the change requested them.
        members: Option<RoomMembers>,
    },
    /// The record cannot grow by the change, which the store skipped. Changes of other records, and later changes of this record, are
    /// not affected.
    Full {
        /// The reason, without secrets.
        reason: String,
        /// The room's members, if the change requested them.
        members: Option<RoomMembers>,
    },
    /// A slot's record was changed, or left unchanged if the slot was full.
    Slot {
        /// Whether the lease holds the places.
        granted: bool,
    },
}

/// The members of a room.
///
/// Every transition in a room has a *version*, which increases in the order of the published announcements. A list contains all
/// transitions up to its version. It may contain later ones, which the members' own versions show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoomMembers {
    /// The list contains all transitions up to this version.
    pub version: u64,
    /// The members, in no order.
    pub members: Vec<HeldMember>,
    /// Whether the room has too many members for a list, so `members` is empty.
    pub too_many: bool,
}

/// A member of a room in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldMember {
    /// The user, as the holder that entered first described it.
    pub member: Member,
    /// The holders; at least one.
    pub leases: Vec<LeaseId>,
    /// The version of the last transition of this user that is in the list, if the store knows it; else 0.
    pub version: u64,
}

/// A record that a dead lease may still hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// A user in a room.
    Member {
        /// The room.
        room: Channel,
        /// The user.
        user: UserId,
        /// The user as the lease described it; `None` if the record does not name the lease.
        member: Option<Member>,
    },
    /// Places of a slot.
    Slot(SlotName),
}

/// The store of presence that a transport offers ([`Sender::presence`](super::Sender::presence)).
///
/// A method that loses its connection returns [`Stored::lost`], and may have had an effect. All calls may be repeated. A caller makes one
/// call at a time, besides the renewal of its lease. Events share the connection, so a store sends large batches in chunks of some hundred.
pub trait PresenceStore: Send + Sync {
    /// Acquires `lease` if its `until` is 0, else renews it. Returns `None` if the store refused.
    ///
    /// An expired lease is renewed as long as no cleaner has claimed it. If the store lacks the lease, or has an earlier end of its term
    /// than `lease.until`, it returns [`Renewal::Gone`]: it has lost later writes, and perhaps records of the lease.
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>>;

    /// Applies `changes` in order, for `lease`, whose term ends at `until` ([`Lease::until`]). Returns one result for each; `None` if the
    /// store refused the change.
    ///
    /// - **Atomic.** A record's change, the decision whether it is a transition, and the publication of its announcement are one step.
    /// - **In order.** The announcements of one room reach each receiver in the order of the transitions. A list
    ///   ([`Change::Enter`]) contains the change itself.
    /// - **Fenced.** A change that arrives after `until` by the store's clock has no effect ([`Applied::Fenced`]). A lease's cleaning is
    ///   claimed only after that time, so a late change cannot undo it. A store with several clocks keeps a margin between the two. A
    ///   store that cannot compare times uses compare-and-swap: the cleaning of a missing record that the index names advances its
    ///   revision.
    /// - **Indexed.** The index of the lease names a record before the record names the lease, and at least as long.
    /// - **Cleaning.** Without a term, `changes` ([`Change::Leave`], or [`Change::Slot`] with a count of 0) release records of a dead lease.
    ///   The store removes each record from the index, even if the record did not name the lease. The caller has claimed the cleaning.
    ///   If the claim expires and another cleaner does the same, each announcement is still published once.
    fn apply<'a>(
        &'a self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Stored<Vec<Option<Applied>>>>;

    /// Returns the members of each of `rooms`; `None` for a room that the store refused.
    fn members<'a>(&'a self, rooms: &'a [Channel]) -> BoxFuture<'a, Stored<Vec<Option<RoomMembers>>>>;

    /// Claims the cleaning of `dead` for `cleaner`, for [`CLAIM_LIFETIME`]. Only one cleaner at a time has the claim, and may renew it.
    /// Returns `false` if another cleaner has it, or the lease does not exist or has not expired. After the first claim the lease cannot
    /// be renewed.
    fn claim_cleaning(&self, dead: LeaseId, cleaner: LeaseId) -> BoxFuture<'_, Stored<bool>>;

    /// Returns at most `most` of the records in the index of `dead`; none if the cleaning is complete.
    fn held(&self, dead: LeaseId, most: usize) -> BoxFuture<'_, Stored<Vec<Held>>>;

    /// Removes the lease `id`, whose index is empty. If it was `cleaned`, the store remembers that for [`CLEANED_MEMORY`].
    fn forget(&self, id: LeaseId, cleaned: bool) -> BoxFuture<'_, Stored<()>>;

    /// Expires `id` at once, even if the store does not have it: [`PresenceStore::renew`] returns it to all nodes.
    fn expire(&self, id: LeaseId) -> BoxFuture<'_, Stored<()>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_one_text() {
        let id = LeaseId(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "0000000000000000ab",
        ] {
            assert_eq!(bad.parse::<LeaseId>(), Err(BadLease), "{bad}");
        }
    }
}
