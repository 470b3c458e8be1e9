//! Deliveries to many connections, written a chunk at a time, so that deliveries to few go between two chunks.
//!
//! Each connection receives events in the order of their publication. The receivers of a fan-out are found in that order, too; only
//! its writes come later. So before a later event, or an answer, is written to a connection, it is given what the fan-outs have not
//! written to it yet ([`FanOuts::catch_up`]).

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use fanfare_core::{Audience, Reach};
use fanfare_ws::Deflater;

use super::{
    Shard,
    batch::Part,
    clock::Moment,
    connections::{Connections, Key},
    deliver::{CHUNK, Classes, report, write},
    driver::{Driver, RUN},
    receivers::{Receivers, same},
    turn::Turn,
};

/// Receivers of all fan-outs at once, at most, but for those of the last. What is published beyond that waits until the first is done.
/// Each takes eight bytes.
pub(super) const MAX_RECEIVERS: usize = 1 << 19;

/// A shard's fan-outs, in the order of publication. The first is being written.
#[derive(Default)]
pub(super) struct FanOuts {
    all: VecDeque<FanOut>,
    /// The receivers of all.
    receivers: usize,
}

/// Events for one audience on the way to its connections.
struct FanOut {
    parts: Vec<Part>,
    reached: Vec<Reach>,
    receivers: Rc<Receivers>,
    /// How many of them have had their turn.
    done: usize,
    /// What [`Connections::generation`] was when the receivers were found.
    generation: u32,
    /// Which receivers have not been reached, if one was before its turn.
    unreached: Option<Slots>,
    classes: Classes,
}

/// A set of places of connections.
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

    /// Removes the place of `key`; returns whether it was there.
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
    /// Whether `part` can go along: it is for the same connections, and none has been written to.
    fn takes(&self, part: &Part, receivers: &Rc<Receivers>) -> bool {
        let is_untouched = self.done == 0 && self.unreached.is_none();
        let has_room = self.reached.len() + part.events.len() <= RUN;
        let is_same = || {
            let mut firsts = self
                .parts
                .iter()
                .chain([part])
                .filter_map(|own| own.prepared().next());
            let first = firsts.next();
            first
                .zip(firsts.next_back())
                .is_none_or(|(one, other)| same(&one.event, &other.event))
        };
        is_untouched
            && has_room
            && (Rc::ptr_eq(&self.receivers, receivers) || self.receivers == *receivers)
            && is_same()
    }

    /// Takes the connection of `key` out of those that have not been reached; returns whether it was one of them.
    fn reach_early(&mut self, key: Key) -> bool {
        if !Connections::is_among(key, self.generation) {
            return false; // it has the slot of a receiver that has gone
        }
        let rest = &self.receivers[self.done..];
        self.unreached.get_or_insert_with(|| Slots::of(rest)).remove(key)
    }

    /// Writes to one connection.
    fn write_early(&mut self, driver: &mut Driver, deflater: &mut Deflater, moment: Moment) {
        let run: Vec<_> = self.parts.iter().flat_map(Part::prepared).collect();
        write(
            driver,
            &run,
            &mut self.reached,
            &mut self.classes,
            moment,
            deflater,
        );
    }

    /// Writes to the next of its connections.
    fn write_chunk(&mut self, connections: &mut Connections, deflater: &mut Deflater, moment: Moment) {
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
                write(
                    driver,
                    &run,
                    &mut self.reached,
                    &mut self.classes,
                    moment,
                    deflater,
                );
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done == self.receivers.len()
    }
}

impl FanOuts {
    #[cfg(test)]
    pub(super) fn receivers(&self) -> usize {
        self.receivers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nothing more should be added.
    pub(super) fn is_full(&self) -> bool {
        self.receivers >= MAX_RECEIVERS
    }

    /// Adds the events of `part`, which are all for the same audience. `generation` is that of the connections.
    fn add(&mut self, part: Part, receivers: &Rc<Receivers>, generation: u32) {
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

    /// Writes to a connection what was published before that which is written to it next.
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

    fn take_first(&mut self) -> Option<FanOut> {
        let first = self.all.pop_front()?;
        self.receivers -= first.receivers.len();
        Some(first)
    }
}

impl Shard {
    /// Begins to deliver the events of `parts`, which are all for the same audience, to many `receivers`.
    pub(super) fn fan_out(&self, parts: impl IntoIterator<Item = Part>, receivers: Receivers) {
        let generation = self.connections.borrow().generation();
        let receivers = Rc::new(receivers);
        let mut fan_outs = self.fan_outs.borrow_mut();
        for part in parts {
            let events = part.events.len();
            if events <= RUN {
                fan_outs.add(part, &receivers, generation);
                continue;
            }
            for from in (0..events).step_by(RUN) {
                fan_outs.add(part.split(from..events.min(from + RUN)), &receivers, generation);
            }
        }
    }

    /// Writes the next chunk of the first fan-out, if there is one, then gives other tasks of the shard a turn.
    pub(super) async fn continue_fan_outs(&self) {
        // A fault over one fan-out loses its rest.
        let Ok(is_long) = catch_unwind(AssertUnwindSafe(|| self.write_fan_out())) else {
            tracing::error!(
                shard = self.number,
                "a fault while delivering; the fan-out is lost in part"
            );
            let lost = self.fan_outs.borrow_mut().take_first();
            return drop(lost);
        };
        if is_long {
            tokio::task::yield_now().await;
        }
    }

    /// Returns whether it was a whole chunk.
    fn write_fan_out(&self) -> bool {
        let mut fan_outs = self.fan_outs.borrow_mut();
        let Some(first) = fan_outs.all.front_mut() else {
            return false;
        };
        if first.done == 0 {
            self.note_wait(&first.parts);
        }
        let is_long = first.receivers.len() - first.done >= CHUNK;
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        first.write_chunk(&mut connections, &mut tools.codec.deflater, self.node.now());
        if first.is_done()
            && let Some(done) = fan_outs.take_first()
        {
            done.classes.count();
            report(&done.parts, &done.reached);
        }
        is_long
    }

    /// Completes as many fan-outs as there are too many.
    pub(super) async fn make_room_for_fan_outs(&self) {
        while self.fan_outs.borrow().is_full() {
            self.continue_fan_outs().await;
        }
    }

    /// Completes the fan-outs that have begun.
    pub(super) async fn complete_fan_outs(&self) {
        while !self.fan_outs.borrow().is_empty() {
            self.continue_fan_outs().await;
        }
    }

    /// Whether it is known without effort that `part` goes to many connections.
    pub(super) fn is_for_many(&self, part: &Part) -> bool {
        let index = self.directory.index();
        part.prepared().all(|prepared| {
            let receivers = match &prepared.event.audience {
                Audience::Everyone => self.len(),
                Audience::User(user) => index.user(user).len(),
                Audience::Channel(channel) => index.channel_members(channel).len(),
            };
            receivers > CHUNK
        })
    }
}

/// Writes to the connection of a turn what was published before that which the turn does.
pub(super) fn catch_up(turn: &mut Turn<'_>) {
    let mut fan_outs = turn.shard.fan_outs.borrow_mut();
    fan_outs.catch_up(turn.key, turn.driver, &mut turn.codec.deflater, turn.moment);
}
