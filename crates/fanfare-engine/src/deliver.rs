//! Fan-out: events to the connections of one shard.
//!
//! The syscall is the cost of a delivery, and one call with many frames costs about what one with a single frame
//! does. So everything that is pending is taken at once, and what is for one connection leaves in one call, straight from the
//! shared frames: events in a row for one audience go to one receiver after the other; where audiences alternate, the
//! receivers of all are found first. What goes to more than [`CHUNK`] connections is a fan-out (`fan_out`): others go between its
//! chunks.

use std::{
    borrow::{Borrow, Cow},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use fanfare_core::{Audience, Reach};
use fanfare_ws::Deflater;
use smallvec::SmallVec;

use super::{
    Framing, MountedDialect, Prepared, Shard, Variant,
    batch::Part,
    clock::Moment,
    connection::Connection,
    connections::Key,
    counters::Tally,
    driver::{Driver, RUN},
    receivers::same,
};

/// Receivers served before other tasks of the shard get a turn; 10,000 at once would hold it for 80 ms.
/// To more of them an event is a fan-out.
pub(super) const CHUNK: usize = 256;

impl Shard {
    /// Delivers `parts` in order and reports what was reached. What is for many connections begins only, as a fan-out.
    pub(super) async fn deliver(self: &Rc<Self>, parts: Vec<Part>) {
        if parts.iter().any(Part::is_traced) {
            self.complete_fan_outs().await;
            self.note_wait(&parts);
            return Box::pin(self.deliver_traced(parts)).await;
        }
        let events: Vec<&Prepared> = parts.iter().flat_map(Part::prepared).collect();
        let mut reached = vec![Reach::default(); events.len()];
        if events.windows(2).all(|pair| same(&pair[0].event, &pair[1].event)) {
            let receivers = self.receivers(&events);
            if receivers.len() > CHUNK {
                return self.fan_out(parts, receivers);
            }
            self.note_wait(&parts);
            let mut since_yield = 0;
            for (run, reached) in events.chunks(RUN).zip(reached.chunks_mut(RUN)) {
                self.write_to(&receivers, run, reached, &mut since_yield).await;
            }
        } else {
            self.note_wait(&parts);
            self.gather(&parts, &events, &mut reached).await;
        }
        report(&parts, &reached);
    }

    /// Records how long the first of `parts` has waited for its delivery.
    pub(super) fn note_wait(&self, parts: &[Part]) {
        if let Some(oldest) = parts.first() {
            let waited = oldest.batch.arrived.elapsed();
            self.node.counters.queue_wait.observe(waited);
        }
    }

    /// Delivers `parts` one event after the other, those that are traced with a record.
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
        classes.count();
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

    /// Finds the receivers of each event, then writes to each connection what is for it.
    async fn gather(self: &Rc<Self>, parts: &[Part], events: &[&Prepared], reached: &mut [Reach]) {
        let mut due: Vec<Outgoing> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            // With cursors, what is held back for the authorizer's answer must not overtake what was published before.
            let is_on_channel = matches!(event.event.audience, Audience::Channel(_));
            if is_on_channel && self.node.access.asks_authorizer() {
                self.write_due(&mut due, events, reached);
            }
            let receivers = self.receivers(&[event]);
            if receivers.len() > CHUNK {
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

    /// Writes to each connection of `keys` what was published before that which is written to it next.
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

/// Reports what the events of `parts` reached, in order.
pub(super) fn report(parts: &[Part], reached: &[Reach]) {
    let mut rest = reached;
    for part in parts {
        let (own, others) = rest.split_at(part.events.len());
        part.report(own);
        rest = others;
    }
}

/// Makes a part of its own for one event of `parts`, of all at this place.
fn part_of(parts: &[Part], mut at: usize) -> Option<Part> {
    for part in parts {
        if at < part.events.len() {
            return Some(part.split(at..at + 1));
        }
        at -= part.events.len();
    }
    None
}

/// Writes the events of `run` to a connection that takes events, now or later.
pub(super) fn write(
    driver: &mut Driver,
    run: &[&Prepared],
    reached: &mut [Reach],
    classes: &mut Classes,
    moment: Moment,
    deflater: &mut Deflater,
) {
    if !driver.connection.takes_events() {
        for (event, reach) in run.iter().zip(reached) {
            hold_back(driver, event, reach, moment, deflater);
        }
        return;
    }
    let class = classes.of(&driver.connection, run, deflater);
    class.tally += if class.cursors && driver.connection.has_windows() {
        send_new(driver, run, 0..run.len(), reached, moment, deflater)
    } else {
        send(driver, &class.frames, &class.events, reached, moment)
    };
}

/// An event of a batch, by its place in it, that is for a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Outgoing {
    key: Key,
    at: usize,
}

/// Keeps what the connection has not been replayed behind what waits for it.
pub(super) fn hold_back(
    driver: &mut Driver,
    prepared: &Prepared,
    reached: &mut Reach,
    moment: Moment,
    deflater: &mut Deflater,
) {
    let event = &prepared.event;
    if driver.connection.is_repeat(event) {
        return;
    }
    let Some(frame) = prepared.frame(driver.connection.variant(), deflater) else {
        return;
    };
    let of = event
        .history
        .position()
        .map(|position| (&event.audience, position));
    let kept = driver.connection.keep_back(frame.into_owned(), of, moment);
    count(driver, kept, reached);
    driver.wake();
}

/// Sends those of `events` at `places` that the connection has not been replayed.
fn send_new(
    driver: &mut Driver,
    events: &[&Prepared],
    places: impl Iterator<Item = usize>,
    reached: &mut [Reach],
    moment: Moment,
    deflater: &mut Deflater,
) -> Tally {
    let mut frames = SmallVec::<[Cow<'_, Bytes>; 4]>::new();
    let mut shown = SmallVec::<[usize; 4]>::new();
    for at in places {
        if driver.connection.is_repeat(&events[at].event) {
            continue;
        }
        if let Some(frame) = events[at].frame(driver.connection.variant(), deflater) {
            frames.push(frame);
            shown.push(at);
        }
    }
    send(driver, &frames, &shown, reached, moment)
}

/// Sends frames, each of the event at its place.
fn send(
    driver: &mut Driver,
    frames: &[impl Borrow<Bytes>],
    places: &[usize],
    reached: &mut [Reach],
    moment: Moment,
) -> Tally {
    let mut tally = Tally::default();
    for (frames, places) in frames.chunks(RUN).zip(places.chunks(RUN)) {
        let sent = driver.send_run(frames, moment);
        for (nth, at) in (0..).zip(places) {
            let queued = u64::from(nth < sent.queued);
            reached[*at] += Reach {
                matched: 1,
                queued,
                dropped: 1 - queued,
            };
        }
        tally += sent;
    }
    tally
}

/// Counts one event of one connection.
pub(super) fn count(driver: &Driver, sent: Tally, reached: &mut Reach) {
    driver.connection.mounted().counters.count(sent);
    *reached += Reach {
        matched: 1,
        queued: sent.queued,
        dropped: sent.dropped,
    };
}

/// The frames of one run for each kind of receiver there is: by dialect and by framing.
#[derive(Default)]
pub(super) struct Classes(SmallVec<[Class; 2]>);

struct Class {
    mounted: Arc<MountedDialect>,
    framing: Framing,
    cursors: bool,
    frames: Vec<Bytes>,
    /// For each frame, which event of the run it is; a dialect may skip some.
    events: Vec<usize>,
    tally: Tally,
}

impl Classes {
    /// Counts what was sent.
    pub(super) fn count(self) {
        for class in self.0 {
            class.mounted.counters.count(class.tally);
        }
    }

    fn of(&mut self, connection: &Connection, run: &[&Prepared], deflater: &mut Deflater) -> &mut Class {
        let variant = connection.variant();
        let Variant {
            mounted,
            framing,
            cursors,
        } = variant;
        let is_it = |class: &Class| {
            class.mounted.number == mounted.number && class.framing == framing && class.cursors == cursors
        };
        let known = self.0.iter().position(is_it);
        let at = known.unwrap_or_else(|| {
            let frame_of =
                |(at, event): (usize, &&Prepared)| Some((at, event.frame(variant, deflater)?.into_owned()));
            let (events, frames) = run.iter().enumerate().filter_map(frame_of).unzip();
            self.0.push(Class {
                mounted: mounted.clone(),
                framing,
                cursors,
                frames,
                events,
                tally: Tally::default(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}
