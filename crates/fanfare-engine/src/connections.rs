//! A shard's connections, and the keys that name them.

use std::collections::BTreeSet;

use slab::Slab;
use smallvec::SmallVec;

use super::driver::Driver;

/// Names a connection on its shard; never the same for two connections, even in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The place of the connection among its shard's, which a later connection may have.
    pub(super) fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Connections, in the order they are written to.
pub(super) type Receivers = SmallVec<[Key; 8]>;

/// The connections of one page: as many as fit into 32 KiB, which the allocator has a class for. A box for each connection
/// would be rounded up to the allocator's next class, and one block for all would be copied when it grows.
const PAGE: usize = 32 * 1024 / size_of::<Driver>();

/// The connections of one shard. A key whose connection has gone finds none.
#[derive(Default)]
pub(super) struct Connections {
    /// Each has room for [`PAGE`], or none while it is empty.
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
        let (number, place) = location(slot);
        let driver = self.pages.get_mut(number)?.get_mut(place)?;
        Some((key(slot, driver), driver))
    }

    /// How many connections there have been; see [`Self::is_among`].
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the connection of `key` was among the first `generation`.
    pub(super) fn is_among(key: Key, generation: u32) -> bool {
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

    /// Forgets the empty pages at the end, so that they are not looked at any more.
    pub(super) fn shrink(&mut self) {
        while self.pages.pop_if(|page| page.is_empty()).is_some() {
            self.with_room.remove(&self.pages.len());
        }
    }
}

/// The page of a slot, and the place in it.
fn location(slot: usize) -> (usize, usize) {
    (slot / PAGE, slot % PAGE)
}

fn key(slot: usize, driver: &Driver) -> Key {
    Key {
        slot: u32::try_from(slot).unwrap_or(u32::MAX),
        generation: driver.generation,
    }
}
