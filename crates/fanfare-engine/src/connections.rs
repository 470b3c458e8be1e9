//! A shard's connections, and the keys that name them.

use slab::Slab;

use super::driver::Driver;

/// Names a connection on its shard; never the same for two connections, even in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

/// The connections of one shard. A key whose connection has gone finds none.
#[derive(Default)]
pub(super) struct Connections {
    held: Slab<Box<Driver>>,
    generation: u32,
}

impl Connections {
    pub(super) fn insert(&mut self, mut driver: Driver) -> Key {
        self.generation = self.generation.wrapping_add(1);
        driver.generation = self.generation;
        let slot = self.held.insert(Box::new(driver));
        key(slot, &self.held[slot])
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Box<Driver>> {
        self.at(key)?;
        Some(self.held.remove(key.slot as usize))
    }

    pub(super) fn at(&mut self, key: Key) -> Option<&mut Driver> {
        let driver = self.held.get_mut(key.slot as usize)?;
        (driver.generation == key.generation).then_some(driver)
    }

    /// The same, if it takes events.
    pub(super) fn receiver_at(&mut self, key: Key) -> Option<&mut Driver> {
        self.at(key).filter(|driver| driver.connection.takes_events())
    }

    /// The same, if it takes events now or when they are held back for it no longer.
    pub(super) fn later_receiver_at(&mut self, key: Key) -> Option<&mut Driver> {
        self.at(key)
            .filter(|driver| driver.connection.takes_events_later())
    }

    /// The connection in a slot; slots are numbered up to [`Self::slots`].
    pub(super) fn in_slot(&mut self, slot: usize) -> Option<(Key, &mut Driver)> {
        let driver = self.held.get_mut(slot)?;
        Some((key(slot, driver), driver))
    }

    pub(super) fn slots(&self) -> usize {
        self.held.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Driver)> {
        let held = self.held.iter();
        held.map(|(slot, driver)| (key(slot, driver), &**driver))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Driver> {
        self.held.iter_mut().map(|(_, driver)| &mut **driver)
    }

    /// Gives back memory after many connections have ended.
    pub(super) fn shrink(&mut self) {
        if self.held.capacity() > 1024 && self.held.len() * 4 < self.held.capacity() {
            self.held.shrink_to_fit();
        }
    }
}

fn key(slot: usize, driver: &Driver) -> Key {
    Key {
        slot: u32::try_from(slot).unwrap_or(u32::MAX),
        generation: driver.generation,
    }
}
