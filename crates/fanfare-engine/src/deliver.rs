//! Delivers events to the connections of one shard.
//!
//! System calls are the cost of a delivery, and a call with many frames costs about as much as a call with one. So the shard
//! delivers all pending events together, and writes all frames for one connection in one call, straight from the shared frames.
//! A run of events for one audience is written to one receiver after the other. If audiences alternate, the shard finds the
//! receivers of all events first. An event for more than [`MANY`] connections is a fan-out (`fan_out`): other events are delivered
//! between its chunks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
};

use fanfare_core::{Audience, Reach};

use super::{
    Prepared, Shard,
    batch::{Part, same},
    connections::{Key, Receivers},
    driver::RUN,
    write::{CHUNK, Classes, MANY, hold_back, send_new, write},
};

impl Shard {
    /// Delivers `parts` in order and reports their reach. For an event for many connections, it only begins a fan-out.
    pub(super) async fn deliver(self: &Rc<Self>, parts: Vec<Part>) {
        if parts.iter().any(Part::is_traced) {
            self.complete_fan_outs().await;
            self.record_wait(&parts);
            return Box::pin(self.deliver_traced(parts)).await;
        }
        let events: Vec<&Prepared> = parts.iter().flat_map(Part::prepared).collect();
        let mut reached = vec![Reach::default(); events.len()];
        if events.windows(2).all(|pair| same(&pair[0].event, &pair[1].event)) {
            let receivers = self.receivers(&events);
            if receivers.len() > MANY {
                return self.fan_out(parts, receivers);
            }
            self.record_wait(&parts);
            let mut since_yield = 0;
            for (run, reached) in events.chunks(RUN).zip(reached.chunks_mut(RUN)) {
                self.write_to(&receivers, run, reached, &mut since_yield).await;
            }
        } else {
            self.record_wait(&parts);
            self.gather(&parts, &events, &mut reached).await;
        }
        report(&parts, &reached);
    }

    /// Records the time that the first of `parts` has waited.
    pub(super) fn record_wait(&self, parts: &[Part]) {
        if let Some(oldest) = parts.first() {
            let waited = oldest.batch.arrived.elapsed();
            self.node.counters.queue_wait.observe(waited);
        }
    }

    /// Delivers `parts` one event after the other, and traces the traced ones.
    async fn deliver_traced(self: &Rc<Self>, parts: Vec<Part>) {
        for part in &parts {
            let mut reached = Vec::with_capacity(part.events.len());
            for (event, traced) in part.traced() {
                let mut reach = Reach::default();
                if let Some(traced) = traced {
                    self.trace(event, traced, &mut reach).await;
                } else {
                    let receivers = self.receivers(&[event]);
                    self.write_to(&receivers, &[event], std::slice::from_mut(&mut reach), &mut 0)
                        .await;
                }
                reached.push(reach);
            }
            part.report(&reached);
        }
    }

    /// Writes the events of `run` to each of `receivers` in one call.
    pub(super) async fn write_to(
        &self,
        receivers: &[Key],
        run: &[&Prepared],
        reached: &mut [Reach],
        since_yield: &mut usize,
    ) {
        let mut classes = Classes::default();
        for receivers in receivers.chunks(CHUNK) {
            self.write_chunk(receivers, run, reached, &mut classes);
            *since_yield += receivers.len();
            if *since_yield >= CHUNK {
                *since_yield = 0;
                tokio::task::yield_now().await;
            }
        }
        classes.count(reached);
    }

    fn write_chunk(
        &self,
        receivers: &[Key],
        run: &[&Prepared],
        reached: &mut [Reach],
        classes: &mut Classes,
    ) {
        self.catch_up(receivers.iter().copied());
        let mut connections = self.connections.borrow_mut();
        let deflater = &mut self.tools.borrow_mut().codec.deflater;
        let moment = self.node.now();
        for key in receivers {
            if let Some(driver) = connections.later_receiver_at(*key) {
                write(driver, run, reached, classes, moment, deflater);
            }
        }
    }

    /// Finds the receivers of all events, then writes each connection its events.
    async fn gather(self: &Rc<Self>, parts: &[Part], events: &[&Prepared], reached: &mut [Reach]) {
        let mut due: Vec<Outgoing> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            // With cursors, events that are held back for the authorizer must not overtake earlier ones.
            let is_on_channel = matches!(event.event.audience, Audience::Channel(_));
            if is_on_channel && self.node.access.asks_authorizer() {
                self.write_due(&mut due, events, reached);
            }
            let receivers = self.receivers(&[event]);
            if receivers.len() > MANY {
                self.write_due(&mut due, events, reached);
                self.fan_out(part_of(parts, at), receivers);
                self.make_room_for_fan_outs().await;
                continue;
            }
            due.extend(receivers.iter().map(|key| Outgoing { key: *key, at }));
            if due.len() >= CHUNK {
                self.write_due(&mut due, events, reached);
                tokio::task::yield_now().await;
            }
        }
        self.write_due(&mut due, events, reached);
    }

    fn write_due(&self, due: &mut Vec<Outgoing>, events: &[&Prepared], reached: &mut [Reach]) {
        due.sort_unstable();
        self.catch_up(due.iter().map(|due| due.key));
        let mut connections = self.connections.borrow_mut();
        let deflater = &mut self.tools.borrow_mut().codec.deflater;
        let moment = self.node.now();
        for run in due.chunk_by(|one, other| one.key == other.key) {
            let Some(driver) = connections.later_receiver_at(run[0].key) else {
                continue;
            };
            let places = run.iter().map(|due| due.at);
            if driver.connection.takes_events() {
                let sent = send_new(driver, events, places, reached, moment, deflater);
                driver.connection.mounted().counters.count(sent);
            } else {
                for at in places {
                    hold_back(driver, events[at], &mut reached[at], moment, deflater);
                }
            }
        }
        due.clear();
    }

    /// Writes the pending events of fan-outs to the connections of `keys`, which precede all later frames.
    pub(super) fn catch_up(&self, keys: impl Iterator<Item = Key>) {
        let mut fan_outs = self.fan_outs.borrow_mut();
        if fan_outs.is_empty() {
            return;
        }
        let mut connections = self.connections.borrow_mut();
        let deflater = &mut self.tools.borrow_mut().codec.deflater;
        let moment = self.node.now();
        for key in keys {
            if let Some(driver) = connections.at(key) {
                fan_outs.catch_up(key, driver, deflater, moment);
            }
        }
    }
}

/// Fan-outs.
impl Shard {
    /// Begins a fan-out of the events of `parts`, all for one audience, to `receivers`.
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
        if fan_outs.is_full() {
            self.node.counters.fan_outs_full.fetch_add(1, Relaxed);
        }
    }

    /// Writes the next chunk of the first fan-out, if there is one, then yields to the shard's other tasks.
    pub(super) async fn continue_fan_outs(&self) {
        // A panic loses only the rest of this fan-out.
        let Ok(is_long) = catch_unwind(AssertUnwindSafe(|| self.write_fan_out())) else {
            tracing::error!(
                shard = self.number,
                "a panic in a delivery; a part of the fan-out is lost"
            );
            let lost = self.fan_outs.borrow_mut().take_first();
            return drop(lost);
        };
        if is_long {
            tokio::task::yield_now().await;
        }
    }

    /// Writes the next chunk of the first fan-out; returns whether it was a full chunk.
    fn write_fan_out(&self) -> bool {
        let mut fan_outs = self.fan_outs.borrow_mut();
        let Some(first) = fan_outs.all.front_mut() else {
            return false;
        };
        if first.done == 0 {
            self.record_wait(&first.parts);
        }
        let is_long = first.receivers.len() - first.done >= CHUNK;
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        first.write_chunk(&mut connections, &mut tools.codec.deflater, self.node.now());
        if first.is_done()
            && let Some(mut done) = fan_outs.take_first()
        {
            done.classes.count(&mut done.reached);
            report(&done.parts, &done.reached);
        }
        is_long
    }

    /// Completes fan-outs until their number is within the limit.
    pub(super) async fn make_room_for_fan_outs(&self) {
        while self.fan_outs.borrow().is_full() {
            self.continue_fan_outs().await;
        }
    }

    pub(super) async fn complete_fan_outs(&self) {
        while !self.fan_outs.borrow().is_empty() {
            self.continue_fan_outs().await;
        }
    }

    /// Returns whether each event of `part` is for many connections, as far as the index shows without a walk.
    pub(super) fn is_for_many(&self, part: &Part) -> bool {
        let index = self.directory.index();
        part.prepared().all(|prepared| {
            let receivers = match &prepared.event.audience {
                Audience::Everyone => self.len(),
                Audience::User(user) => index.user(user).len(),
                Audience::Channel(channel) => index.channel_members(channel).len(),
            };
            receivers > MANY
        })
    }
}

/// Reports the reach of the events of `parts`, in order.
pub(super) fn report(parts: &[Part], reached: &[Reach]) {
    let mut rest = reached;
    for part in parts {
        let (own, others) = rest.split_at(part.events.len());
        part.report(own);
        rest = others;
    }
}

/// Splits off the event with this index among all events of `parts`.
fn part_of(parts: &[Part], mut at: usize) -> Option<Part> {
    for part in parts {
        if at < part.events.len() {
            return Some(part.split(at..at + 1));
        }
        at -= part.events.len();
    }
    None
}

/// An event for a connection, by its index among the events that are delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Outgoing {
    key: Key,
    at: usize,
}
