//! The entries into rooms that the broker has not reported yet.

use ahash::AHashMap;
use fanfare_core::{Channel, EntryTicket, UserId, history::Since};

use super::{connections::Key, directory::Grant};

/// The lower bits of an [`EntryTicket`], which number the entries of one shard. The upper bits are the shard's number.
const NUMBER_BITS: u32 = 56;

/// The pending entries of one shard, by ticket.
#[derive(Default)]
pub(super) struct Entries {
    pending: AHashMap<EntryTicket, PendingEntry>,
    next: u64,
}

/// An entry that the broker has not reported yet.
pub(super) struct PendingEntry {
    pub(super) key: Key,
    pub(super) user: UserId,
    pub(super) room: Channel,
    /// The subscription to the room; `None` if the connection is already a member.
    pub(super) grant: Option<Grant>,
    /// The start of the events that the client wants replayed, if it resumes the room.
    pub(super) resume: Option<Since>,
}

impl Entries {
    pub(super) fn add(&mut self, shard: usize, entry: PendingEntry) -> EntryTicket {
        let ticket = EntryTicket((shard as u64) << NUMBER_BITS | self.next);
        self.next = (self.next + 1) % (1 << NUMBER_BITS);
        self.pending.insert(ticket, entry);
        ticket
    }

    pub(super) fn take(&mut self, ticket: EntryTicket) -> Option<PendingEntry> {
        self.pending.remove(&ticket)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// Returns the shard that waits for the entry with this ticket.
pub(super) fn shard_of(ticket: EntryTicket) -> usize {
    usize::try_from(ticket.0 >> NUMBER_BITS).unwrap_or(usize::MAX)
}
