//! Events on their way to this node's connections, shared by its shards.

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

/// An event with its renderings, each made when the first receiver needs it and shared by all.
pub struct Prepared {
    /// What was published.
    pub event: Event,
    /// How many dialects there are.
    dialects: usize,
    renderings: Renderings,
    /// The same with its cursor in it; only if a receiver asked for cursors.
    with_cursor: OnceLock<Box<Renderings>>,
}

/// An event's renderings; `None` inside says "not for this dialect". Most events are shown in one dialect, whose rendering needs no
/// memory of its own.
#[derive(Default)]
struct Renderings {
    /// The first that was needed, with the number of its dialect.
    first: OnceLock<(usize, Option<Framed>)>,
    /// By dialect number.
    others: OnceLock<Box<[OnceLock<Option<Framed>>]>>,
}

impl Renderings {
    /// The rendering in the dialect of this `number`, of so many.
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

/// What decides which bytes a connection is sent for an event.
#[derive(Clone, Copy)]
pub struct Variant<'a> {
    /// Its dialect.
    pub mounted: &'a Arc<MountedDialect>,
    /// What its messages are wrapped in.
    pub framing: Framing,
    /// Whether it asked for cursors.
    pub cursors: bool,
}

/// A message framed once for each framing that its receivers have.
pub(super) struct Framed {
    opcode: Opcode,
    /// Its frame for WebSocket, uncompressed; empty for a part of a body.
    frame: Bytes,
    /// Where in it the payload begins.
    payload_at: usize,
    /// By framing, for the others. Nearly always one entry. Of a part of a body, its forms as they are come first.
    others: Mutex<Vec<(Framing, Bytes)>>,
}

impl Prepared {
    /// Nothing is rendered yet.
    pub fn new(event: Event, dialects: usize) -> Self {
        Self {
            event,
            dialects,
            renderings: Renderings::default(),
            with_cursor: OnceLock::new(),
        }
    }

    /// The event framed for connections of `variant`, compressed where that is negotiated and worth it.
    ///
    /// It is borrowed where that is possible, since a copy costs as much as a good part of the rest of a delivery.
    pub fn frame(&self, variant: Variant<'_>, deflater: &mut Deflater) -> Option<Cow<'_, Bytes>> {
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
        // A dialect that panics over an event must not take the shard's deliveries down with it.
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

    /// The frame for connections of `mounted` with this framing, compressed where that is negotiated and worth it.
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

    /// The frame for `framing`, which `produce` makes of those that are known.
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

/// A text that a node sends to all of its own connections of one dialect: a tick, or the notice that a drain begins. It is
/// not an event, so it does not pass the broker.
pub(super) struct Broadcast {
    pub(super) mounted: Arc<MountedDialect>,
    pub(super) framed: Framed,
}

impl Broadcast {
    pub(super) fn new(mounted: &Arc<MountedDialect>, rendering: &Rendering) -> Self {
        Self {
            mounted: mounted.clone(),
            framed: Framed::new(rendering),
        }
    }
}

/// Whether exactly the same connections should have `one` and `other`.
pub(super) fn same(one: &Event, other: &Event) -> bool {
    one.audience == other.audience
        && (&one.private_to, &one.readers_of, one.except)
            == (&other.private_to, &other.readers_of, other.except)
}

/// Several events that go to the shards together.
pub(super) struct Batch {
    pub(super) events: Vec<Prepared>,
    /// When the broker brought them.
    pub(super) arrived: Instant,
    /// Those of them that are traced, each with its place; nearly always none.
    traced: Vec<(u32, Arc<Traced>)>,
    reaches: Mutex<Vec<Reach>>,
    parts_left: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Vec<Reach>>>>,
}

/// One shard's share of a batch. When the last one is dropped, however that comes about, the publisher is answered.
pub(super) struct Part {
    pub(super) batch: Arc<Batch>,
    /// Which of the batch's events concern this shard, in order.
    pub(super) events: Vec<u32>,
}

impl Batch {
    /// Splits `events` by `shares`: for each shard, which events concern it. Answers the parts of those shards that
    /// have any, and what resolves when all parts are done.
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
            let _ = done.send(reaches); // a publisher that no longer waits needs no answer
        }
    }
}

impl Part {
    /// The events of this part, in order.
    pub(super) fn prepared(&self) -> impl Iterator<Item = &Prepared> {
        self.events.iter().map(|at| &self.batch.events[*at as usize])
    }

    /// Makes a part of its own for some of the events, whose reach is then reported by that one.
    pub(super) fn split(&self, events: Range<usize>) -> Self {
        self.batch.parts_left.fetch_add(1, AcqRel); // this part is one of them, so the batch is not finished yet
        Self {
            batch: self.batch.clone(),
            events: self.events[events].to_vec(),
        }
    }

    /// Whether an event of the batch is traced.
    pub(super) fn is_traced(&self) -> bool {
        !self.batch.traced.is_empty()
    }

    /// The events of this part, in order, each with its trace if it has one.
    pub(super) fn traced(&self) -> impl Iterator<Item = (&Prepared, Option<&Arc<Traced>>)> {
        let trace_of = |at: u32| self.batch.traced.iter().find(|(place, _)| *place == at);
        let own = self.events.iter().zip(self.prepared());
        own.map(move |(at, event)| (event, trace_of(*at).map(|(_, traced)| traced)))
    }

    /// Adds what this shard reached; `reached` goes along with [`Part::prepared`].
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
