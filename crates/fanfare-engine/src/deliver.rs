//! Fan-out: events to the connections of one shard.
//!
//! The syscall is the cost of a delivery, and one call with many frames costs about what one with a single frame
//! does. So everything that is pending is taken at once: events in a row for one audience are written to each receiver
//! in one call straight from the shared frames; where audiences alternate, frames are gathered per connection first
//! and every connection is written to once at the end.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use fanfare_core::Reach;
use fanfare_ws::{DeflateParams, Deflater};
use smallvec::SmallVec;

use super::{
    MountedDialect, Prepared, Shard, Variant,
    batch::Part,
    clock::Moment,
    connection::Connection,
    connections::Key,
    counters::Tally,
    driver::{Driver, RUN},
    receivers::same,
};

/// Receivers served before other tasks of the shard get a turn; 10,000 at once would hold it for 80 ms.
const CHUNK: usize = 256;

impl Shard {
    /// Delivers `parts` in order and reports what was reached.
    pub(super) async fn deliver(self: &Rc<Self>, parts: Vec<Part>) {
        let Some(oldest) = parts.first() else { return };
        let waited = oldest.batch.arrived.elapsed();
        self.node.counters.queue_wait.observe(waited);
        if parts.iter().any(Part::is_traced) {
            return Box::pin(self.deliver_traced(parts)).await;
        }
        let events: Vec<&Prepared> = parts.iter().flat_map(Part::prepared).collect();
        let mut reached = vec![Reach::default(); events.len()];
        if events.windows(2).all(|pair| same(&pair[0].event, &pair[1].event)) {
            let mut since_yield = 0;
            for (run, reached) in events.chunks(RUN).zip(reached.chunks_mut(RUN)) {
                self.write_run(run, reached, &mut since_yield).await;
            }
        } else {
            self.gather(&events, &mut reached).await;
        }
        let mut rest = reached.as_slice();
        for part in &parts {
            let (own, others) = rest.split_at(part.events.len());
            part.report(own);
            rest = others;
        }
    }

    /// Delivers `parts` one event after the other, those that are traced with a record.
    async fn deliver_traced(self: &Rc<Self>, parts: Vec<Part>) {
        for part in &parts {
            let mut reached = Vec::with_capacity(part.events.len());
            for (event, traced) in part.traced() {
                let mut reach = Reach::default();
                match traced {
                    Some(traced) => self.trace(event, traced, &mut reach).await,
                    None => self.gather(&[event], std::slice::from_mut(&mut reach)).await,
                }
                reached.push(reach);
            }
            part.report(&reached);
        }
    }

    /// Writes events for one audience to each receiver in one call.
    async fn write_run(self: &Rc<Self>, run: &[&Prepared], reached: &mut [Reach], since_yield: &mut usize) {
        let receivers = self.receivers(run);
        self.write_to(&receivers, run, reached, since_yield).await;
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
        for class in classes.0 {
            class.mounted.counters.count(class.tally);
        }
    }

    fn write_chunk(
        &self,
        receivers: &[Key],
        run: &[&Prepared],
        reached: &mut [Reach],
        classes: &mut Classes,
    ) {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let moment = self.node.now();
        for key in receivers {
            let Some(driver) = connections.receiver_at(*key) else {
                if let Some(driver) = connections.later_receiver_at(*key) {
                    hold_back(driver, run, reached, moment, &mut tools.codec.deflater);
                }
                continue;
            };
            let class = classes.of(&driver.connection, run, &mut tools.codec.deflater);
            if class.cursors && driver.connection.has_windows() {
                send_new(driver, run, reached, moment, &mut tools.codec.deflater);
                continue;
            }
            if class.frames.is_empty() {
                continue;
            }
            let sent = driver.send_run(&class.frames, moment);
            class.tally += sent;
            for (nth, event) in (0..).zip(&class.events) {
                let queued = u64::from(nth < sent.queued);
                reached[*event] += Reach {
                    matched: 1,
                    queued,
                    dropped: 1 - queued,
                };
            }
        }
    }

    /// Queues each event at its receivers, then writes to every connection that was queued at.
    async fn gather(self: &Rc<Self>, events: &[&Prepared], reached: &mut [Reach]) {
        let mut dirty: Vec<Key> = Vec::new();
        let mut since_yield = 0;
        // Read once a turn: most events of a batch have one receiver, and a clock costs as much as a good part of the rest.
        let mut moment = self.node.now();
        for (event, reach) in events.iter().zip(reached) {
            for receivers in self.receivers(&[event]).chunks(CHUNK) {
                self.queue_chunk(receivers, event, moment, reach, &mut dirty);
                since_yield += receivers.len();
                if since_yield >= CHUNK {
                    self.flush_all(&mut dirty);
                    since_yield = 0;
                    tokio::task::yield_now().await;
                    moment = self.node.now();
                }
            }
        }
        self.flush_all(&mut dirty);
    }

    fn queue_chunk(
        &self,
        receivers: &[Key],
        event: &Prepared,
        moment: Moment,
        reach: &mut Reach,
        dirty: &mut Vec<Key>,
    ) {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        for key in receivers {
            let Some(driver) = connections.receiver_at(*key) else {
                if let Some(driver) = connections.later_receiver_at(*key) {
                    let reached = std::slice::from_mut(reach);
                    hold_back(driver, &[event], reached, moment, &mut tools.codec.deflater);
                }
                continue;
            };
            let variant = driver.connection.variant();
            let cursors = variant.cursors;
            let Some(frame) = event.frame(variant, &mut tools.codec.deflater) else {
                continue;
            };
            if cursors && driver.connection.is_repeat(&event.event) {
                continue;
            }
            if driver.connection.is_outbox_empty() {
                dirty.push(*key);
            }
            let sent = driver.queue(frame, moment);
            count(driver, sent, reach);
        }
    }

    fn flush_all(&self, dirty: &mut Vec<Key>) {
        let mut connections = self.connections.borrow_mut();
        for key in dirty.drain(..) {
            if let Some(driver) = connections.at(key) {
                driver.flush_or_wake();
            }
        }
    }
}

/// Keeps what the connection has not been replayed behind what waits for it.
pub(super) fn hold_back(
    driver: &mut Driver,
    run: &[&Prepared],
    reached: &mut [Reach],
    moment: Moment,
    deflater: &mut Deflater,
) {
    for (prepared, reached) in run.iter().zip(reached) {
        let event = &prepared.event;
        if driver.connection.is_repeat(event) {
            continue;
        }
        let Some(frame) = prepared.frame(driver.connection.variant(), deflater) else {
            continue;
        };
        let of = event
            .history
            .position()
            .map(|position| (&event.audience, position));
        let kept = driver.connection.keep_back(frame, of, moment);
        count(driver, kept, reached);
    }
    driver.wake();
}

/// Sends what the connection has not been replayed.
fn send_new(
    driver: &mut Driver,
    run: &[&Prepared],
    reached: &mut [Reach],
    moment: Moment,
    deflater: &mut Deflater,
) {
    for (prepared, reached) in run.iter().zip(reached) {
        if driver.connection.is_repeat(&prepared.event) {
            continue;
        }
        if let Some(frame) = prepared.frame(driver.connection.variant(), deflater) {
            let sent = driver.send_run(&[frame], moment);
            count(driver, sent, reached);
        }
    }
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

/// The frames of one run for each kind of receiver there is: by dialect and by what compression it negotiated.
#[derive(Default)]
struct Classes(SmallVec<[Class; 2]>);

struct Class {
    mounted: Arc<MountedDialect>,
    deflate: Option<DeflateParams>,
    cursors: bool,
    frames: Vec<Bytes>,
    /// For each frame, which event of the run it is; a dialect may skip some.
    events: Vec<usize>,
    tally: Tally,
}

impl Classes {
    fn of(&mut self, connection: &Connection, run: &[&Prepared], deflater: &mut Deflater) -> &mut Class {
        let variant = connection.variant();
        let Variant {
            mounted,
            deflate,
            cursors,
        } = variant;
        let is_it = |class: &Class| {
            class.mounted.number == mounted.number && class.deflate == deflate && class.cursors == cursors
        };
        let known = self.0.iter().position(is_it);
        let at = known.unwrap_or_else(|| {
            let frame_of = |(at, event): (usize, &&Prepared)| Some((at, event.frame(variant, deflater)?));
            let (events, frames) = run.iter().enumerate().filter_map(frame_of).unzip();
            self.0.push(Class {
                mounted: mounted.clone(),
                deflate,
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
