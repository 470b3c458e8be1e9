//! A shard's connections, by key.

use std::collections::BTreeSet;

use slab::Slab;
use smallvec::SmallVec;

use super::driver::Driver;

/// The key of a connection on its shard. Two connections never have the same key, even in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// Returns the connection's slot, which a later connection may reuse.
    pub(super) fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Connections, in the order of writing.
pub(super) type Receivers = SmallVec<[Key; 8]>;

/// The number of connections in a page of 32 KiB, a size class of the allocator. A box for each connection would be rounded up to
/// the next class, and one block for all would be copied when it grows.
const PAGE: usize = 32 * 1024 / size_of::<Driver>();

/// The connections of one shard. The key of a removed connection finds none.
#[derive(Default)]
pub(super) struct Connections {
    /// Each page has memory for [`PAGE`] connections, or none while it is empty.
    pages: Vec<Slab<Driver>>,
    /// The pages that are not full. The first one is filled first, so that the last ones become empty.
    with_room: BTreeSet<usize>,
    len: usize,
    generation: u32,
}

impl Connections {
    pub(super) fn insert(&mut self, mut driver: Driver) -> Key {
        self.generation = self.generation.wrapping_add(1);
        driver.generation = self.generation;
        let number = self.with_room.first().copied().unwrap_or(self.pages.len());
        if number == self.pages.len() {
            self.pages.push(Slab::new());
            self.with_room.insert(number);
        }
        let page = &mut self.pages[number];
        page.reserve_exact(PAGE - page.len());
        let place = page.insert(driver);
        if page.len() == PAGE {
            self.with_room.remove(&number);
        }
        self.len += 1;
        Key {
            slot: u32::try_from(number * PAGE + place).unwrap_or(u32::MAX),
            generation: self.generation,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Driver> {
        self.at(key)?;
        let (number, place) = location(key.slot as usize);
        let page = &mut self.pages[number];
        let driver = page.remove(place);
        if page.is_empty() {
            *page = Slab::new();
        }
        self.with_room.insert(number);
        self.len -= 1;
        Some(driver)
    }

    pub(super) fn at(&mut self, key: Key) -> Option<&mut Driver> {
        let (number, place) = location(key.slot as usize);
        let driver = self.pages.get_mut(number)?.get_mut(place)?;
        (driver.generation == key.generation).then_some(driver)
    }

    /// Returns the connection, if it takes events.
    pub(super) fn receiver_at(&mut self, key: Key) -> Option<&mut Driver> {
        self.at(key).filter(|driver| driver.connection.takes_events())
    }

    /// Returns the connection, if it takes events at once or after a hold.
    pub(super) fn later_receiver_at(&mut self, key: Key) -> Option<&mut Driver> {
        self.at(key)
            .filter(|driver| driver.connection.takes_events_later())
    }

    /// Returns the connection in a slot; slots are numbered up to [`Self::slots`].
    pub(super) fn in_slot(&mut self, slot: usize) -> Option<(Key, &mut Driver)> {
        let (number, place) = location(slot);
        let driver = self.pages.get_mut(number)?.get_mut(place)?;
        Some((key(slot, driver), driver))
    }

    /// Returns the number of connections that were ever inserted; see [`Self::existed_at`].
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns whether the connection of `key` was among the first `generation` connections.
    pub(super) fn existed_at(key: Key, generation: u32) -> bool {
        generation.wrapping_sub(key.generation) <= u32::MAX / 2
    }

    pub(super) fn slots(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Driver)> {
        let pages = self.pages.iter().enumerate();
        let all = pages.flat_map(|(number, page)| page.iter().map(move |(place, own)| (number, place, own)));
        all.map(|(number, place, driver)| (key(number * PAGE + place, driver), driver))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Driver> {
        let pages = self.pages.iter_mut();
        pages.flat_map(|page| page.iter_mut().map(|(_, driver)| driver))
    }

    /// Removes the empty pages at the end, so that walks do not visit them.
    pub(super) fn shrink(&mut self) {
        while self.pages.pop_if(|page| page.is_empty()).is_some() {
            self.with_room.remove(&self.pages.len());
        }
    }
}

/// Returns the page of a slot, and its index in the page.
fn location(slot: usize) -> (usize, usize) {
    (slot / PAGE, slot % PAGE)
}

fn key(slot: usize, driver: &Driver) -> Key {
    Key {
        slot: u32::try_from(slot).unwrap_or(u32::MAX),
        generation: driver.generation,
    }
}
