//! Writes events to one connection. Each event is framed once for each class of receivers.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use fanfare_core::Reach;
use fanfare_ws::Deflater;
use smallvec::SmallVec;

use super::{
    Framing, MountedDialect, Prepared, Variant,
    clock::Moment,
    connection::Connection,
    counters::Tally,
    driver::{Driver, RUN},
};

/// The receivers that are written to before the shard yields to its other tasks. They take half a millisecond; 10,000 would take
/// 80 ms.
pub(super) const CHUNK: usize = 64;
/// The most receivers of an event that is not a fan-out.
pub(super) const MANY: usize = 4 * CHUNK;

/// Writes the events of `run` to a connection that takes events at once or after a hold.
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
    if class.frames.is_empty() {
        return; // its dialect renders none of the events
    }
    if class.cursors && driver.connection.has_windows() {
        class.tally += send_new(driver, run, 0..run.len(), reached, moment, deflater);
        return;
    }
    let sent = driver.send_run(&class.frames, moment);
    if sent.dropped == 0 {
        class.full += 1; // the case of nearly every connection
    } else {
        class.tally += sent;
        count_each(sent, &class.events, reached);
    }
}

/// Holds an event back behind those that wait for the connection, unless it was replayed to it.
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
    let position = event.history.position();
    let of = position.map(|position| (&event.audience, position));
    let kept = driver.connection.hold_frame(frame.into_owned(), of, moment);
    count(driver, kept, reached);
    driver.wake();
}

/// Sends those of `events` at `places` that were not replayed to the connection.
pub(super) fn send_new(
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
    let mut tally = Tally::default();
    for (frames, shown) in frames.chunks(RUN).zip(shown.chunks(RUN)) {
        let sent = driver.send_run(frames, moment);
        count_each(sent, shown, reached);
        tally += sent;
    }
    tally
}

/// Adds the frames that were sent to one connection to the reach of their events. Dropped frames are the last ones.
fn count_each(sent: Tally, places: &[usize], reached: &mut [Reach]) {
    for (nth, at) in (0..).zip(places) {
        let queued = u64::from(nth < sent.queued);
        reached[*at] += Reach {
            matched: 1,
            queued,
            dropped: 1 - queued,
        };
    }
}

/// Counts the delivery of one event to one connection.
pub(super) fn count(driver: &Driver, sent: Tally, reached: &mut Reach) {
    driver.connection.mounted().counters.count(sent);
    *reached += Reach {
        matched: 1,
        queued: sent.queued,
        dropped: sent.dropped,
    };
}

/// The frames of one run for each class of receivers: by dialect, framing and cursors.
#[derive(Default)]
pub(super) struct Classes(SmallVec<[Class; 2]>);

struct Class {
    mounted: Arc<MountedDialect>,
    framing: Framing,
    cursors: bool,
    frames: Vec<Bytes>,
    /// The index of each frame's event in the run, because a dialect may skip some.
    events: Vec<usize>,
    /// The number of connections to which all frames were written or queued.
    full: u64,
    /// The frames to all other connections.
    tally: Tally,
}

impl Classes {
    /// Counts the sent frames, and adds the `full` ones to `reached`, which lacks them.
    pub(super) fn count(self, reached: &mut [Reach]) {
        for Class {
            mounted,
            events,
            full,
            tally,
            ..
        } in self.0
        {
            mounted.counters.count(Tally {
                queued: tally.queued + full * events.len() as u64,
                ..tally
            });
            for at in events {
                reached[at] += Reach {
                    matched: full,
                    queued: full,
                    dropped: 0,
                };
            }
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
                full: 0,
                tally: Tally::default(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}
