//! The port to the store of presence: which node holds which users in which rooms, and which slots.
//!
//! A *record* is one user in one room, or one slot. It lists its *holders*: the leases of the nodes that have a connection
//! there. A *lease* is one run of one node; it expires if the node does not renew it. The cluster crate decides what changes
//! and when, what is announced, and who cleans up. A store only keeps the records and guarantees what each method says.
//!
//! # What a store need not do
//!
//! No method needs a change of two records to be atomic, and none reads a lease together with a record: the store may keep each
//! record in a place of its own (a slot of Redis Cluster, a key of a NATS bucket). Two things hold the places together:
//!
//! - The *index* of a lease names every record that the lease may hold. The store writes an index entry before the record,
//!   and removes it after the record; so a dead lease's index may name too much, never too little.
//! - The *term* of a lease ([`Lease::until`]) fences late writes: see [`PresenceStore::apply`].
//!
//! # Time
//!
//! Only the store's own clock counts. Nodes pass durations, and the times that the store itself returned, which they do not
//! interpret.
//!
//! # Values of others
//!
//! Whatever else is found in the store's places (garbage, values of other programs or versions) is ignored: it counts as no
//! holder, no lease, and no index entry, and a place of the wrong type is a refusal of what concerns that place alone.

use std::{fmt, str::FromStr, time::Duration};

use fanfare_core::{BoxFuture, Channel, Member, Slot, SlotScope, UserId};

use super::Stored;
pub use crate::wire::AnnouncementText;

/// How long a lease lives after its renewal.
pub const LEASE_LIFETIME: Duration = Duration::from_secs(5);
/// How long a claim to clean up after a lease lasts. A cleaner claims again before each batch.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(5);
/// How long the store remembers that a lease was cleaned.
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
    /// The slot of that name.
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

/// A lease, and its term as the store last confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The end of its term, by the store's clock and in the store's unit; 0 for a lease that was never taken.
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
    /// The lease is over and stays so.
    Gone {
        /// Another node claimed its cleaning, within [`CLEANED_MEMORY`]: what it held was announced as left, or will be.
        /// If not, the store has lost the lease, and perhaps everything.
        cleaned: bool,
    },
}

/// What happens to one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The lease holds `member` in `room`. A transition if nothing held the user there before.
    Enter {
        /// The room.
        room: Channel,
        /// The user.
        member: Member,
        /// When the user came, by the node's clock, in milliseconds since 1970; kept for display.
        since_ms: u64,
        /// Published if it is a transition.
        announcement: Option<AnnouncementText>,
        /// Whether [`Applied::Room`] lists the room.
        list: bool,
    },
    /// The lease does not hold `user` in `room` any more. A transition if nothing holds the user there afterwards, and
    /// the lease held it before or `even_if_unheld` is set.
    Leave {
        /// The room.
        room: Channel,
        /// The user.
        user: UserId,
        /// Published if it is a transition.
        announcement: Option<AnnouncementText>,
        /// The caller knows that the lease did hold it: if the record is missing, the store has lost it.
        even_if_unheld: bool,
    },
    /// The lease holds `count` places of `slot` from now on; 0 for none.
    Slot {
        /// The slot.
        slot: SlotName,
        /// How many places, not how many more.
        count: u32,
        /// Refused if all leases together would hold more than this, unless the lease already holds as many.
        most: Option<u32>,
    },
}

impl Change {
    /// Whether the lease holds something by it.
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
    /// Nothing was changed or published, nor by later changes of the same record: the lease's term is over by the store's clock, or
    /// other nodes come before this one again and again. The change is to be tried again.
    Fenced,
    /// A room's record was changed.
    Room {
        /// Whether it was a transition.
        transition: bool,
        /// The room's members, if they were asked for.
        members: Option<RoomMembers>,
    },
    /// The store has no room for the change in the room's record: nothing was changed or published. Changes of other records, and
    /// later ones of this record, are not concerned.
    Full {
        /// Why, without secrets.
        reason: String,
        /// The room's members, if they were asked for.
        members: Option<RoomMembers>,
    },
    /// A slot's record was changed, or not if the slot had no such place.
    Slot {
        /// Whether the lease holds the places.
        granted: bool,
    },
}

/// The members of a room.
///
/// Every transition in a room has a *version*, greater than those before it, in the order in which the announcements are
/// published. A list contains all transitions up to its own version; of later ones it may contain those that the members' own
/// versions say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoomMembers {
    /// Everything up to this version is in the list.
    pub version: u64,
    /// The members, in no order.
    pub members: Vec<HeldMember>,
    /// There are too many of them for a list, and `members` is empty.
    pub too_many: bool,
}

/// A member of a room, as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldMember {
    /// The user, as the holder that entered first described it.
    pub member: Member,
    /// The holders; at least one.
    pub leases: Vec<LeaseId>,
    /// The version of the last transition of this user that is in the list, if the store knows it; else 0.
    pub version: u64,
}

/// A record that a dead lease may hold.
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
/// A method that loses its connection says so ([`Stored::lost`]); whether it had an effect is not known then. All of them may be
/// repeated. One caller makes one call at a time, and renews its lease meanwhile; events travel on the same connection meanwhile, so a store sends large batches
/// in pieces of some hundred.
pub trait PresenceStore: Send + Sync {
    /// Takes `lease` if its `until` is 0, else renews it. `None` if the store refused.
    ///
    /// A lease that has expired is renewed as long as no cleaner has claimed it. A lease that the store does not know, or knows
    /// with an earlier end of its term than `lease.until`, is [`Renewal::Gone`]: the store has lost later writes, and with
    /// them perhaps what the lease holds.
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>>;

    /// Applies `changes` in order, for `lease`, whose term ends at `until` ([`Lease::until`]). Returns one result for each; `None` where the
    /// store refused.
    ///
    /// - **Atomic.** Each record's change, whether it is a transition, and the publication of its announcement are one step: of
    ///   two nodes that change a record at once one comes first, and no crash comes in between.
    /// - **In order.** The announcements of one room reach each receiver in the order of the transitions. A list
    ///   ([`Change::Enter`]) contains the change itself.
    /// - **Fenced.** A change has no effect after `until` by the store's clock, however late it arrives
    ///   ([`Applied::Fenced`]). A lease's cleaning is claimed only after that time, so what was cleaned stays clean. A store whose
    ///   places have clocks of their own keeps a margin between the two; one that cannot compare times fences by other means
    ///   (with compare-and-swap: cleaning a record that the index names and that does not exist advances its revision).
    /// - **Indexed.** The index of the lease names a record before the record names the lease, and at least as long.
    /// - **Cleaning.** Without a term, `changes` ([`Change::Leave`], or [`Change::Slot`] with a count of 0) end what a dead lease holds;
    ///   each record is removed from the index, also if the record did not name the lease. The caller has claimed the cleaning; if its
    ///   claim is over and another cleaner does the same, each announcement is still published once.
    fn apply<'a>(
        &'a self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Stored<Vec<Option<Applied>>>>;

    /// Lists the members of each of `rooms`; `None` where the store refused.
    fn members<'a>(&'a self, rooms: &'a [Channel]) -> BoxFuture<'a, Stored<Vec<Option<RoomMembers>>>>;

    /// Claims the cleaning of `dead` for `cleaner`, for [`CLAIM_LIFETIME`]. Of several cleaners one gets it; the one that has
    /// it may claim it again, and another after that time. `false` if the lease does not exist or has not expired. From the
    /// first claim on the lease cannot be renewed.
    fn claim_cleaning(&self, dead: LeaseId, cleaner: LeaseId) -> BoxFuture<'_, Stored<bool>>;

    /// Returns at most `most` of the records that the index of `dead` names; none when nothing is left to clean.
    fn held(&self, dead: LeaseId, most: usize) -> BoxFuture<'_, Stored<Vec<Held>>>;

    /// Ends the lease `id`, whose index is empty. Remembers it for [`CLEANED_MEMORY`] if it was `cleaned`.
    fn forget(&self, id: LeaseId, cleaned: bool) -> BoxFuture<'_, Stored<()>>;

    /// Makes `id` expire at once, also if the store does not know it: [`PresenceStore::renew`] names it to all nodes.
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
