//! The slots that this node's connections hold.

use std::collections::VecDeque;

use ahash::AHashMap;
use tokio::sync::oneshot;

use crate::transport::presence::SlotName;

/// The places of this node's connections, by slot.
#[derive(Default)]
pub(super) struct Slots {
    held: AHashMap<SlotName, Places>,
    /// The slots whose count must be reported to the store.
    dirty: VecDeque<SlotName>,
}

#[derive(Default)]
struct Places {
    /// The number that this node's connections hold.
    count: u32,
    /// The changes that are queued or in flight.
    pending: u32,
    dirty: bool,
    /// Whether the store may have a record of them.
    stored: bool,
}

/// A change of the places of a slot.
pub(super) struct SlotChange {
    pub(super) slot: SlotName,
    pub(super) kind: SlotChangeKind,
}

/// The kinds of a [`SlotChange`].
pub(super) enum SlotChangeKind {
    /// Acquires one more place, of so many at most. The caller waits for the result.
    Acquire(u32, oneshot::Sender<bool>),
    /// Reports the present count.
    Report,
}

impl Slots {
    /// Notes that a change of `slot` is queued.
    pub(super) fn queued(&mut self, slot: &SlotName) {
        let places = self.held.entry(slot.clone()).or_default();
        places.pending += 1;
        places.stored = true;
    }

    /// Notes that the store has the present count of `slot`.
    pub(super) fn stored(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get_mut(slot) {
            places.stored = places.count > 0;
        }
    }

    /// Notes that a queued change of `slot` was applied or dropped.
    pub(super) fn done(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get_mut(slot) {
            places.pending = places.pending.saturating_sub(1);
        }
        self.remove_if_idle(slot);
    }

    /// Returns the number of places of `slot` that this node's connections hold.
    pub(super) fn count(&self, slot: &SlotName) -> u32 {
        self.held.get(slot).map_or(0, |places| places.count)
    }

    /// Adds a place.
    pub(super) fn add(&mut self, slot: &SlotName) {
        self.held.entry(slot.clone()).or_default().count += 1;
    }

    /// Removes a place.
    pub(super) fn remove(&mut self, slot: &SlotName) {
        if let Some(places) = self.held.get_mut(slot) {
            places.count = places.count.saturating_sub(1);
        }
        self.remove_if_idle(slot);
    }

    /// Marks `slot` for a report to the store, unless neither this node nor the store has a place of it.
    pub(super) fn mark(&mut self, slot: &SlotName) {
        let Some(places) = self.held.get_mut(slot) else {
            return;
        };
        if places.count == 0 && !places.stored {
            if std::mem::take(&mut places.dirty) {
                self.dirty.retain(|dirty| dirty != slot);
            }
            self.remove_if_idle(slot);
        } else if !std::mem::replace(&mut places.dirty, true) {
            self.dirty.push_back(slot.clone());
        }
    }

    /// Notes that the store has lost all records of this node, and marks every slot.
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

    /// Takes reports of at most `most` marked slots; each counts as queued.
    pub(super) fn reports(&mut self, most: usize) -> Vec<SlotChange> {
        let count = most.min(self.dirty.len());
        let slots: Vec<SlotName> = self.dirty.drain(..count).collect();
        for slot in &slots {
            self.queued(slot);
            if let Some(places) = self.held.get_mut(slot) {
                places.dirty = false;
            }
        }
        let report = |slot| SlotChange {
            slot,
            kind: SlotChangeKind::Report,
        };
        slots.into_iter().map(report).collect()
    }

    /// Removes all places, and marks their slots.
    pub(super) fn release_all(&mut self) {
        for places in self.held.values_mut() {
            places.count = 0;
        }
        self.mark_all();
    }

    fn remove_if_idle(&mut self, slot: &SlotName) {
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
