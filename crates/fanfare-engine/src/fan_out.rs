//! Deliveries to many connections, written a chunk at a time, so that other deliveries run between two chunks.
//!
//! Each connection receives events in the order of publication. The shard finds the receivers of a fan-out in that order, and
//! writes later. So before it writes a later event or an answer to a connection, it writes the events of pending fan-outs
//! ([`FanOuts::catch_up`]).

use std::{collections::VecDeque, rc::Rc};

use fanfare_core::Reach;
use fanfare_ws::Deflater;

use super::{
    batch::{Part, same},
    clock::Moment,
    connections::{Connections, Key, Receivers},
    driver::{Driver, RUN},
    write::{CHUNK, Classes, write},
};

/// The default of [`NodeOptions::max_fan_out_receivers`](crate::NodeOptions::max_fan_out_receivers): 4 MiB for each shard.
pub const MAX_FAN_OUT_RECEIVERS: usize = 1 << 19;

/// A shard's fan-outs, in the order of publication. The first is being written.
pub(super) struct FanOuts {
    pub(super) all: VecDeque<FanOut>,
    /// The number of receivers of all fan-outs.
    receivers: usize,
    /// The limit of `receivers`; from it on, no fan-out is added.
    most: usize,
}

/// Events for one audience that are being delivered to its connections.
pub(super) struct FanOut {
    pub(super) parts: Vec<Part>,
    pub(super) reached: Vec<Reach>,
    pub(super) receivers: Rc<Receivers>,
    /// The number of receivers, from the first, that have been written to.
    pub(super) done: usize,
    /// The [`Connections::generation`] at which the receivers were found.
    generation: u32,
    /// The receivers that have not been written to, once one was written to out of order.
    unreached: Option<Slots>,
    pub(super) classes: Classes,
}

/// A set of slots.
struct Slots(Vec<u64>);

impl Slots {
    fn of(keys: &[Key]) -> Self {
        let mut slots = Vec::new();
        for key in keys {
            let (word, bit) = (key.slot() / 64, key.slot() % 64);
            if word >= slots.len() {
                slots.resize(word + 1, 0);
            }
            slots[word] |= 1 << bit;
        }
        Self(slots)
    }

    /// Removes the slot of `key`; returns whether the set had it.
    fn remove(&mut self, key: Key) -> bool {
        let (word, bit) = (key.slot() / 64, 1 << (key.slot() % 64));
        let Some(word) = self.0.get_mut(word) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }
}

impl FanOut {
    /// Returns whether `part` can be added: it is for the same connections, and none has been written to.
    fn takes(&self, part: &Part, receivers: &Rc<Receivers>) -> bool {
        let is_untouched = self.done == 0 && self.unreached.is_none();
        let has_room = self.reached.len() + part.events.len() <= RUN;
        let is_same = || {
            let parts = self.parts.iter().chain([part]);
            let mut firsts = parts.filter_map(|own| own.prepared().next());
            let ends = firsts.next().zip(firsts.next_back());
            ends.is_none_or(|(one, other)| same(&one.event, &other.event))
        };
        is_untouched
            && has_room
            && (Rc::ptr_eq(&self.receivers, receivers) || self.receivers == *receivers)
            && is_same()
    }

    /// Removes the connection of `key` from the receivers that have not been written to; returns whether it was among them.
    fn reach_early(&mut self, key: Key) -> bool {
        if !Connections::existed_at(key, self.generation) {
            return false; // it has the slot of a receiver that was removed
        }
        let rest = &self.receivers[self.done..];
        self.unreached.get_or_insert_with(|| Slots::of(rest)).remove(key)
    }

    /// Writes to one connection out of order.
    fn write_early(&mut self, driver: &mut Driver, deflater: &mut Deflater, moment: Moment) {
        let run: Vec<_> = self.parts.iter().flat_map(Part::prepared).collect();
        let (reached, classes) = (&mut self.reached, &mut self.classes);
        write(driver, &run, reached, classes, moment, deflater);
    }

    /// Writes to the next chunk of receivers.
    pub(super) fn write_chunk(
        &mut self,
        connections: &mut Connections,
        deflater: &mut Deflater,
        moment: Moment,
    ) {
        let run: Vec<_> = self.parts.iter().flat_map(Part::prepared).collect();
        let rest = &self.receivers[self.done..];
        let chunk = &rest[..rest.len().min(CHUNK)];
        self.done += chunk.len();
        for key in chunk {
            if let Some(unreached) = &mut self.unreached
                && !unreached.remove(*key)
            {
                continue;
            }
            if let Some(driver) = connections.later_receiver_at(*key) {
                let (reached, classes) = (&mut self.reached, &mut self.classes);
                write(driver, &run, reached, classes, moment, deflater);
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == self.receivers.len()
    }
}

impl FanOuts {
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: VecDeque::new(),
            receivers: 0,
            most,
        }
    }

    #[cfg(test)]
    pub(super) fn receivers(&self) -> usize {
        self.receivers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.receivers >= self.most
    }

    /// Adds the events of `part`, all for one audience. `generation` is [`Connections::generation`].
    pub(super) fn add(&mut self, part: Part, receivers: &Rc<Receivers>, generation: u32) {
        let reached = part.events.iter().map(|_| Reach::default());
        if let Some(last) = self.all.back_mut().filter(|last| last.takes(&part, receivers)) {
            last.reached.extend(reached);
            last.parts.push(part);
            return;
        }
        self.receivers += receivers.len();
        self.all.push_back(FanOut {
            reached: reached.collect(),
            parts: vec![part],
            receivers: receivers.clone(),
            done: 0,
            generation,
            unreached: None,
            classes: Classes::default(),
        });
    }

    /// Writes the pending events of all fan-outs to a connection.
    pub(super) fn catch_up(
        &mut self,
        key: Key,
        driver: &mut Driver,
        deflater: &mut Deflater,
        moment: Moment,
    ) {
        for fan_out in &mut self.all {
            if fan_out.reach_early(key) && driver.connection.takes_events_later() {
                fan_out.write_early(driver, deflater, moment);
            }
        }
    }

    pub(super) fn take_first(&mut self) -> Option<FanOut> {
        let first = self.all.pop_front()?;
        self.receivers -= first.receivers.len();
        Some(first)
    }
}
