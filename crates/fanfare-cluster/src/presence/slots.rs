//! The slots that this node's connections hold.

use std::collections::VecDeque;

use ahash::AHashMap;
use tokio::sync::oneshot;

use crate::transport::presence::SlotName;

/// Places of this node's connections, by slot.
#[derive(Default)]
pub(super) struct Slots {
    held: AHashMap<SlotName, Places>,
    /// Slots about which the store does not know what it should.
    dirty: VecDeque<SlotName>,
}

#[derive(Default)]
struct Places {
    /// How many this node's connections have.
    count: u32,
    /// Changes that are queued or on their way.
    pending: u32,
    dirty: bool,
    /// Whether the store may know of any.
    stored: bool,
}

/// A change of the places of a slot.
pub(super) struct SlotChange {
    pub(super) slot: SlotName,
    pub(super) kind: SlotChangeKind,
}

/// What becomes of the places.
pub(super) enum SlotChangeKind {
    /// One more, of so many at most; the caller waits for the result.
    Acquire(u32, oneshot::Sender<bool>),
    /// The store should know how many there are.
    Report,
}

impl Slots {
    /// A change of `slot` is queued.
    pub(super) fn queued(&mut self, slot: &SlotName) {
        let places = self.held.entry(slot.clone()).or_default();
        places.pending += 1;
        places.stored = true;
    }

    /// The store knows of `count` places of `slot`.
    pub(super) fn stored(&mut self, slot: &SlotName, count: u32) {
        if let Some(places) = self.held.get_mut(slot) {
            places.stored = count > 0;
        }
    }

    /// A queued change is carried out, or will not be.
    pub(super) fn done(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get_mut(slot) {
            places.pending = places.pending.saturating_sub(1);
        }
        self.tidy(slot);
    }

    /// How many places the store should know of.
    pub(super) fn count(&self, slot: &SlotName) -> u32 {
        self.held.get(slot).map_or(0, |places| places.count)
    }

    /// A connection has a place.
    pub(super) fn take(&mut self, slot: &SlotName) {
        self.held.entry(slot.clone()).or_default().count += 1;
    }

    /// A connection has given its place back.
    pub(super) fn give_back(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get_mut(slot) {
            places.count = places.count.saturating_sub(1);
        }
        self.tidy(slot);
    }

    /// Marks `slot` for the store, unless both sides know of no place.
    pub(super) fn mark(&mut self, slot: &SlotName) {
        let Some(places) = self.held.get_mut(slot) else {
            return;
        };
        if places.count == 0 && !places.stored {
            if std::mem::take(&mut places.dirty) {
                self.dirty.retain(|dirty| dirty != slot);
            }
            self.tidy(slot);
        } else if !std::mem::replace(&mut places.dirty, true) {
            self.dirty.push_back(slot.clone());
        }
    }

    /// The store knows of none of them under this node's lease.
    pub(super) fn lost(&mut self) {
        for places in self.held.values_mut() {
            places.stored = false;
        }
        self.mark_all();
    }

    fn mark_all(&mut self) {
        let all: Vec<SlotName> = self.held.keys().cloned().collect();
        for slot in all {
            self.mark(&slot);
        }
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// At most `most` reports of marked slots; each counts as queued.
    pub(super) fn reports(&mut self, most: usize) -> Vec<SlotChange> {
        let count = most.min(self.dirty.len());
        let slots: Vec<SlotName> = self.dirty.drain(..count).collect();
        for slot in &slots {
            let places = self.held.entry(slot.clone()).or_default();
            places.dirty = false;
            places.pending += 1;
            places.stored = true;
        }
        let report = |slot| SlotChange {
            slot,
            kind: SlotChangeKind::Report,
        };
        slots.into_iter().map(report).collect()
    }

    /// Every slot of which this node has places; it has none from now on.
    pub(super) fn release_all(&mut self) {
        for places in self.held.values_mut() {
            places.count = 0;
        }
        self.mark_all();
    }

    fn tidy(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get(slot)
            && places.count == 0
            && places.pending == 0
            && !places.dirty
            && !places.stored
        {
            self.held.remove(slot);
        }
    }
}
