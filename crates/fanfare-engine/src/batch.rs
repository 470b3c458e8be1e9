//! Batches of events that the shards of a node deliver together.

use std::{
    borrow::Cow,
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::AcqRel},
    },
    time::Instant,
};

use bytes::Bytes;
use fanfare_core::{
    Event, Reach, Rendering,
    history::{Cursor, History},
    locked,
};
use fanfare_ws::{Deflater, Opcode};
use tokio::sync::oneshot;

use super::{
    Framing, MountedDialect,
    framing::{self, opcode},
    observe::Traced,
};

/// An event with its renderings. Each is rendered for the first receiver that needs it, and shared by all.
pub(super) struct Prepared {
    pub(super) event: Event,
    dialects: usize,
    renderings: Renderings,
    /// The renderings with cursors, if a receiver wants them.
    with_cursor: OnceLock<Box<Renderings>>,
}

/// An event's renderings; `None` inside means that the dialect does not show it. Most events are rendered in a single dialect,
/// which needs no allocation.
#[derive(Default)]
struct Renderings {
    /// The first rendering, with the number of its dialect.
    first: OnceLock<(usize, Option<Framed>)>,
    /// The other renderings, by dialect number.
    others: OnceLock<Box<[OnceLock<Option<Framed>>]>>,
}

impl Renderings {
    /// Returns the rendering in the dialect with this `number`.
    fn get(&self, number: usize, dialects: usize, render: impl Fn() -> Option<Framed>) -> Option<&Framed> {
        let (first, framed) = self.first.get_or_init(|| (number, render()));
        if *first == number {
            return framed.as_ref();
        }
        let unmade = || (0..dialects).map(|_| OnceLock::new()).collect();
        self.others.get_or_init(unmade)[number]
            .get_or_init(render)
            .as_ref()
    }
}

/// The properties of a connection that decide the bytes of an event.
#[derive(Clone, Copy)]
pub(super) struct Variant<'a> {
    pub(super) mounted: &'a Arc<MountedDialect>,
    pub(super) framing: Framing,
    pub(super) cursors: bool,
}

/// A message with one frame for each framing of its receivers.
pub(super) struct Framed {
    opcode: Opcode,
    /// Its uncompressed WebSocket frame; empty for a part of a body.
    frame: Bytes,
    /// The offset of the payload in `frame`.
    payload_at: usize,
    /// The other frames, by framing; nearly always one. For a part of a body, its unframed forms are first.
    others: Mutex<Vec<(Framing, Bytes)>>,
}

impl Prepared {
    /// Returns the event without any rendering.
    pub(super) fn new(event: Event, dialects: usize) -> Self {
        Self {
            event,
            dialects,
            renderings: Renderings::default(),
            with_cursor: OnceLock::new(),
        }
    }

    /// Returns the event's frame for connections of `variant`. It is compressed if the client negotiated that and the message is
    /// long enough.
    ///
    /// It is borrowed if possible, because a copy is a large part of a delivery's cost.
    pub(super) fn frame(&self, variant: Variant<'_>, deflater: &mut Deflater) -> Option<Cow<'_, Bytes>> {
        let Variant { mounted, framing, .. } = variant;
        match self.event.history {
            History::Late(_) if variant.cursors => return None,
            History::Again(_) if !variant.cursors => return None,
            _ => {}
        }
        let cursor = self.event.history.position().filter(|_| variant.cursors);
        let (made, cursor) = match cursor {
            None => (&self.renderings, None),
            Some(position) => {
                let made = self.with_cursor.get_or_init(Box::default);
                (&**made, Some(position.cursor()))
            }
        };
        let rendering = made.get(mounted.number, self.dialects, || self.render(mounted, cursor))?;
        Some(rendering.frame(mounted, framing, deflater))
    }

    fn render(&self, mounted: &MountedDialect, cursor: Option<Cursor>) -> Option<Framed> {
        // A panic in a dialect must not end the shard's deliveries.
        let rendered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match cursor {
            None => mounted.dialect.render(&self.event),
            Some(cursor) => mounted
                .dialect
                .render_with_cursor(&self.event, &cursor.to_string()),
        }));
        let rendering = rendered.unwrap_or_else(|_| {
            mounted.counters.render_faults.fetch_add(1, AcqRel);
            tracing::error!(dialect = mounted.name, event = %self.event.id, "rendering an event failed");
            None
        })?;
        Some(Framed::new(&rendering))
    }
}

impl Framed {
    pub(super) fn new(rendering: &Rendering) -> Self {
        let (frame, others) = match rendering {
            Rendering::Forms(forms) => (Bytes::new(), framing::bare(forms).into()),
            message => (Framing::WebSocket(None).frame(message), Vec::new()),
        };
        Self {
            opcode: opcode(rendering),
            payload_at: frame.len().saturating_sub(rendering.payload().len()),
            frame,
            others: Mutex::new(others),
        }
    }

    /// Returns the frame for connections of `mounted` with this framing, compressed as in [`Prepared::frame`].
    pub(super) fn frame(
        &self,
        mounted: &MountedDialect,
        framing: Framing,
        deflater: &mut Deflater,
    ) -> Cow<'_, Bytes> {
        let is_long = || self.payload().len() >= mounted.settings().compression_threshold;
        match framing {
            Framing::WebSocket(Some(params)) if is_long() => {
                Cow::Owned(self.other(framing, |_| deflater.frame(self.opcode, self.payload(), params)))
            }
            Framing::WebSocket(_) => Cow::Borrowed(&self.frame),
            Framing::Body { .. } => Cow::Owned(self.other(framing, |known| framing.of_bare(known))),
        }
    }

    fn payload(&self) -> &[u8] {
        &self.frame[self.payload_at..]
    }

    /// Returns the frame for `framing`. If there is none, `produce` makes it from the existing frames.
    fn other(&self, framing: Framing, produce: impl FnOnce(&[(Framing, Bytes)]) -> Bytes) -> Bytes {
        let mut known = locked(&self.others);
        if let Some((_, frame)) = known.iter().find(|(made_for, _)| *made_for == framing) {
            return frame.clone();
        }
        let frame = produce(&known);
        known.push((framing, frame.clone()));
        frame
    }
}

/// A message of a node to all its connections of one dialect: a tick, or the notice of a drain. It does not pass the broker.
pub(super) struct Broadcast {
    pub(super) mounted: Arc<MountedDialect>,
    pub(super) framed: Framed,
}

/// Returns whether the same connections receive `one` and `other`.
pub(super) fn same(one: &Event, other: &Event) -> bool {
    one.audience == other.audience
        && (&one.private_to, &one.readers_of, one.except)
            == (&other.private_to, &other.readers_of, other.except)
}

/// Events that the node distributes to its shards together.
pub(super) struct Batch {
    pub(super) events: Vec<Prepared>,
    pub(super) arrived: Instant,
    /// The traced events, by their index in `events`; nearly always none.
    traced: Vec<(u32, Arc<Traced>)>,
    reaches: Mutex<Vec<Reach>>,
    parts_left: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Vec<Reach>>>>,
}

/// The events of a batch for one shard. When the last part is dropped, for any reason, the batch reports its reach.
pub(super) struct Part {
    pub(super) batch: Arc<Batch>,
    /// The indexes of the events for this shard, in order.
    pub(super) events: Vec<u32>,
}

impl Batch {
    /// Splits `events` by `shares`, the indexes of each shard's events. Returns the parts of the shards that have events, and a
    /// receiver that resolves when all parts are done.
    pub(super) fn split(
        events: Vec<Prepared>,
        shares: Vec<Vec<u32>>,
        traced: Vec<(u32, Arc<Traced>)>,
        arrived: Instant,
    ) -> (Vec<(usize, Part)>, oneshot::Receiver<Vec<Reach>>) {
        let (report, reported) = oneshot::channel();
        let reaches = vec![Reach::default(); events.len()];
        let parts = shares.iter().filter(|share| !share.is_empty()).count();
        let batch = Arc::new(Self {
            events,
            arrived,
            traced,
            reaches: Mutex::new(reaches),
            parts_left: AtomicUsize::new(parts),
            done: Mutex::new(Some(report)),
        });
        if parts == 0 {
            batch.finish();
        }
        let shares = shares.into_iter().enumerate();
        let parts = shares
            .filter(|(_, events)| !events.is_empty())
            .map(|(shard, events)| {
                let batch = batch.clone();
                (shard, Part { batch, events })
            });
        (parts.collect(), reported)
    }

    fn finish(&self) {
        let reaches = std::mem::take(&mut *locked(&self.reaches));
        if let Some(done) = locked(&self.done).take() {
            let _ = done.send(reaches); // the publisher may have stopped waiting
        }
    }
}

impl Part {
    /// Returns the events of this part, in order.
    pub(super) fn prepared(&self) -> impl Iterator<Item = &Prepared> {
        self.events.iter().map(|at| &self.batch.events[*at as usize])
    }

    /// Returns a new part for some of the events. It reports their reach.
    pub(super) fn split(&self, events: Range<usize>) -> Self {
        self.batch.parts_left.fetch_add(1, AcqRel); // this part still counts, so the batch cannot be finished
        Self {
            batch: self.batch.clone(),
            events: self.events[events].to_vec(),
        }
    }

    pub(super) fn is_traced(&self) -> bool {
        !self.batch.traced.is_empty()
    }

    /// Returns the events of this part, in order, each with its trace if it has one.
    pub(super) fn traced(&self) -> impl Iterator<Item = (&Prepared, Option<&Arc<Traced>>)> {
        let trace_of = |at: u32| self.batch.traced.iter().find(|(place, _)| *place == at);
        let own = self.events.iter().zip(self.prepared());
        own.map(move |(at, event)| (event, trace_of(*at).map(|(_, traced)| traced)))
    }

    /// Adds this shard's reach; `reached` has the order of [`Part::prepared`].
    pub(super) fn report(&self, reached: &[Reach]) {
        let mut totals = locked(&self.batch.reaches);
        for (at, reach) in self.events.iter().zip(reached) {
            totals[*at as usize] += *reach;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.batch.parts_left.fetch_sub(1, AcqRel) == 1 {
            self.batch.finish();
        }
    }
}
