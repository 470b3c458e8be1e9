//! Plain publications: events that backends publish on the transport itself, past all nodes. One node records those whose audience has history,
//! and all nodes deliver the recorded copy in place of the original.
//!
//! The recorder holds a lease ([`RecorderStore`](crate::transport::RecorderStore)) and receives all plain publications by a separate connection
//! (`feed`). It publishes each again by the journal's script, with the mark [`Envelope::recorded`](crate::wire::Envelope). A second node, the
//! standby, receives the same publications and copies. So it has the publications that are not recorded, and records exactly those when it
//! takes over.
//!
//! Each node holds the plain publications that it receives until their copies arrive. Ticks, which arrive in one order with copies and originals,
//! decide how long it waits. The store refuses to record a publication that arrived [`RECORDED_WITHIN`] ticks ago, so a node that receives a later
//! tick delivers the original, without a cursor. If the store does not answer, the node does not wait for ticks: it delivers the originals and
//! remembers them, so that it recognises the copies. A publication that is not recorded raises the journal's floor: no earlier cursor is
//! recovered.

mod feed;
mod queue;
mod settled;
#[cfg(test)]
mod tests;

use std::{
    slice,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fanfare_core::{
    Audience, Event, Gap,
    history::{History, Unrecovered},
    journal::JournalFigures,
    locked,
};
use tokio::sync::Notify;

pub(crate) use self::feed::run;
use self::{
    queue::{PlainPublication, PlainQueue},
    settled::Settling,
};
use crate::{
    ANSWER_TIMEOUT,
    deliveries::{Item, ReplyTo},
    foreign::Foreign,
    id_memory::IdMemory,
    ids::Ids,
    node::Node,
    receipts::Receipts,
    transport::{
        WantedId,
        recorder::{BEGINS_ANEW, RECORDED_WITHIN, TickRequest, VACANT},
    },
    wire::MAX_BYTES,
};

/// The time after which no copy of a publication arrives that was delivered because the store did not answer. As soon as the store answers and
/// counts ticks, it refuses to record publications older than a second. A connection that hangs for longer than this is closed.
const COPY_WITHIN: Duration = Duration::from_secs(10);
/// The longest time between two ticks while a recorder is live.
const TICKS_WITHIN: Duration = Duration::from_millis(450);
/// The size of the largest event that is recorded, in bytes. Its copy also has an envelope, and no node accepts more than [`MAX_BYTES`].
const MAX_RECORDED: usize = MAX_BYTES - (4 << 10);

/// See the module's documentation.
pub(crate) struct Recorder {
    node: Arc<Node>,
    foreign: Arc<Foreign>,
    ids: Arc<Ids>,
    receipts: Arc<Receipts>,
    /// The ids that the feed has claimed, and those of recorded publications. The ids of delivered events are in another memory.
    claimed: IdMemory,
    /// Whether the transport has plain publications.
    is_needed: bool,
    held: Mutex<HeldBack>,
    settling: Settling,
    /// The feed's name as a candidate; 0 for none.
    candidate: AtomicU64,
    is_closing: AtomicBool,
    /// The number of times that unrecorded publications were delivered.
    losses: AtomicU64,
    /// The number of `losses` for which the journal's floor is raised.
    raised: AtomicU64,
    /// Wakes the task that delivers given up publications.
    work: Notify,
    /// Given up publications wait, and recorded events must not overtake them.
    is_blocking: AtomicBool,
    /// Notified when `is_blocking` ends.
    released: Notify,
    recorded: AtomicU64,
    unrecorded: AtomicU64,
}

/// The publications that this node holds back.
#[derive(Default)]
struct HeldBack {
    queue: PlainQueue<HoldState>,
    /// The publications that will not be recorded. They are delivered after the floor is raised, so a client that resumes before receives them
    /// live.
    given_up: Vec<(Event, Instant)>,
    /// Some of the given up publications are being delivered.
    is_releasing: bool,
    /// The tick at which a term began that records nothing from before.
    began_anew: Option<u64>,
    /// The last tick on this connection.
    tick: Option<u64>,
    /// The time since which the lease is vacant: nothing is recorded until a node acquires it.
    vacant_since: Option<Instant>,
    /// The time of the last tick.
    ticked_at: Option<Instant>,
    /// The time since which the store has not answered and no tick has arrived.
    silent_since: Option<Instant>,
    /// The time of the last replay.
    replayed_at: Option<Instant>,
}

/// The state of a publication that waits for its copy.
struct HoldState {
    /// The first tick after it, once that has arrived.
    tick: Option<u64>,
    held_since: Instant,
    /// It was delivered, and waits only to recognise its copy.
    is_delivered: bool,
    /// It counts in the backlog of deliveries.
    is_counted: bool,
}

impl Recorder {
    pub(crate) fn new(
        node: Arc<Node>,
        foreign: Arc<Foreign>,
        ids: Arc<Ids>,
        receipts: Arc<Receipts>,
        max_remembered_ids: usize,
    ) -> Self {
        Self {
            is_needed: node.transport.has_plain_publications(),
            node,
            foreign,
            ids,
            receipts,
            claimed: IdMemory::new(max_remembered_ids),
            held: Mutex::default(),
            settling: Settling::default(),
            candidate: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            raised: AtomicU64::new(0),
            work: Notify::new(),
            is_blocking: AtomicBool::new(false),
            released: Notify::new(),
            recorded: AtomicU64::new(0),
            unrecorded: AtomicU64::new(0),
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldBack> {
        locked(&self.held)
    }

    /// Returns the recorder's part of the journal's figures.
    pub(crate) fn figures(&self) -> JournalFigures {
        JournalFigures {
            recorded: self.recorded.load(Relaxed),
            unrecorded: self.unrecorded.load(Relaxed),
            awaited: self.held().queue.len() as u64,
            ..JournalFigures::default()
        }
    }

    /// Returns whether publications for `audience` are recorded.
    fn records(&self, audience: &Audience) -> bool {
        let inbound = &self.node.inbound;
        self.is_needed && inbound.keeps_history() && inbound.retention(audience).is_some()
    }

    /// Returns whether `event` is recorded. The result is the same on all nodes, so no node waits for a copy that is never published.
    fn records_event(&self, event: &Event) -> bool {
        let metadata = event.metadata.as_ref().map_or(0, |json| json.bytes().len());
        event.data.bytes().len() + metadata <= MAX_RECORDED && self.records(&event.audience)
    }

    // Arrivals.

    /// Receives a plain publication on the subject of its audience.
    pub(crate) fn receive(&self, event: Event, since: Instant) {
        if self.records_event(&event) {
            self.hold(event, since);
        } else {
            self.foreign.one(event, since);
        }
    }

    /// Receives the events of a body in the form of the service API.
    pub(crate) fn receive_body(&self, events: Vec<Event>, since: Instant) {
        if !self.is_needed || !events.iter().any(|event| self.records_event(event)) {
            return self.foreign.many(events, since);
        }
        for event in events {
            // The copy arrives only if this node is subscribed to its audience. While the lease is vacant there is none.
            let awaits_copy = || self.receipts.wants(&event.audience) || self.held().vacant_since.is_some();
            if self.records_event(&event) && awaits_copy() {
                self.hold(event, since);
            } else {
                self.foreign.many(vec![event], since);
            }
        }
    }

    fn hold(&self, event: Event, since: Instant) {
        let mut held = self.held();
        self.node.deliveries.reserve(slice::from_ref(&event));
        if held.vacant_since.is_some() {
            held.given_up.push((event, since));
            self.work.notify_one();
            return;
        }
        let wait = HoldState {
            tick: None,
            held_since: Instant::now(),
            is_delivered: false,
            is_counted: true,
        };
        held.queue.push(event, since, wait);
        if held.silent_since.is_some_and(|at| at.elapsed() > ANSWER_TIMEOUT) {
            // All are delivered, so that none overtakes an older one.
            self.deliver_held(&mut held, |_| true);
        }
    }

    /// Receives the recorded copy of a plain publication, and delivers it in place of the original.
    pub(crate) fn receive_copy(&self, copy: Event) {
        let mut held = self.held();
        let plain = held.queue.take(&copy);
        let position = copy.history.position();
        match plain {
            Some(plain) if plain.state.is_delivered => {
                // Without its cursor, clients would receive the event again by a replay. The cursor of the last such event is enough.
                let mut others = held.queue.iter();
                let is_last =
                    !others.any(|plain| plain.state.is_delivered && plain.event.audience == copy.audience);
                if let Some(position) = position
                    && is_last
                {
                    self.node.deliveries.push(Item::Gap(Gap {
                        audience: Some(copy.audience),
                        present: position.cursor(),
                        reason: Unrecovered::Expired,
                    }));
                }
                return;
            }
            Some(plain) => {
                self.stop_counting(&plain);
                if plain.event.named {
                    self.ids.memory.published(plain.event.id);
                }
            }
            // This node did not hold the original, but delivered it.
            None if !self.records(&copy.audience) => return,
            None => {}
        }
        if copy.history == History::None {
            self.unrecorded.fetch_add(1, Relaxed); // the journal refused it
        }
        self.node.deliveries.push(Item::Event(copy, ReplyTo::Dropped));
    }

    /// Receives a tick, and gives up the publications that are no longer recorded. If copies may wait for a gap (`is_holding`), none is given up.
    pub(crate) fn receive_tick(&self, tick: u64, lease: u8, is_holding: bool) {
        let is_vacant = lease == VACANT;
        let mut held = self.held();
        // A replica of the store with an older state took over.
        let is_back = held.tick.is_some_and(|last| tick < last);
        held.tick = Some(tick);
        held.began_anew = held.began_anew.filter(|_| !is_back);
        if lease == BEGINS_ANEW {
            held.began_anew = Some(tick);
        }
        if !is_vacant {
            held.vacant_since = None;
        } else if held.vacant_since.is_none() {
            held.vacant_since = Some(Instant::now());
            self.settling.vacant();
        }
        // The tick may be the answer to another node.
        held.ticked_at = Some(Instant::now());
        held.silent_since = None;
        for plain in held.queue.iter_mut() {
            if is_back || plain.state.tick.is_none() {
                plain.state.tick = Some(tick);
            }
        }
        if is_holding {
            return;
        }
        let began_anew = held.began_anew.take();
        let is_over = |wait: &HoldState| {
            // The new term records nothing from before, and its copies must not overtake those.
            let is_from_before = |first| began_anew.is_some_and(|began| first <= began);
            is_vacant
                || wait
                    .tick
                    .is_some_and(|first| is_from_before(first) || tick >= first + RECORDED_WITHIN)
        };
        for plain in held.queue.take_all(is_over) {
            self.stop_counting(&plain);
            // If this node has unsubscribed, no copy arrives, whether it is recorded or not.
            if !plain.state.is_delivered && (is_vacant || self.receipts.wants(&plain.event.audience)) {
                self.node.deliveries.reserve(slice::from_ref(&plain.event));
                held.given_up.push((plain.event, plain.since));
            }
        }
        if !held.given_up.is_empty() {
            self.work.notify_one();
        }
        // While the lease is vacant there are no copies.
        if !is_vacant && (held.is_releasing || !held.given_up.is_empty()) {
            self.is_blocking.store(true, Relaxed);
        }
    }

    /// Returns whether events with a position wait until the given up publications are delivered.
    pub(crate) fn is_blocking(&self) -> bool {
        self.is_blocking.load(Relaxed)
    }

    /// Resolves when events with a position no longer wait.
    pub(crate) async fn released(&self) {
        self.released.notified().await;
    }

    /// Notes that the receiving connection was lost. Lost copies are fetched after a reconnect. The held publications no longer count in the
    /// backlog: the node reconnects only if that has room.
    pub(crate) fn lost(&self) {
        let mut held = self.held();
        held.vacant_since = None;
        self.settling.end();
        for plain in held.queue.iter_mut() {
            if std::mem::take(&mut plain.state.is_counted) {
                self.node.deliveries.unreserve(slice::from_ref(&plain.event));
            }
        }
    }

    /// Notes whether the store has answered. If it is silent for [`ANSWER_TIMEOUT`], publications are delivered without waiting for ticks.
    fn answered(&self, answers: bool) {
        let mut held = self.held();
        if answers {
            held.silent_since = None;
            return;
        }
        if held.ticked_at.is_some_and(|at| at.elapsed() < ANSWER_TIMEOUT) {
            return;
        }
        held.silent_since.get_or_insert_with(Instant::now);
        drop(
            held.queue
                .take_all(|wait| wait.is_delivered && wait.held_since.elapsed() > COPY_WITHIN),
        );
        self.deliver_held(&mut held, |wait| wait.held_since.elapsed() > ANSWER_TIMEOUT);
    }

    /// Delivers the held publications that are due, and remembers them to recognise their copies.
    fn deliver_held(&self, held: &mut HeldBack, is_due: impl Fn(&HoldState) -> bool) {
        for plain in held.queue.iter_mut() {
            if !plain.state.is_delivered && is_due(&plain.state) {
                plain.state.is_delivered = true;
                self.stop_counting(plain);
                plain.state.is_counted = false;
                self.losses.fetch_add(1, Relaxed);
                self.unrecorded.fetch_add(1, Relaxed);
                self.foreign.many(vec![plain.event.clone()], plain.since);
            }
        }
    }

    /// Returns whether a tick is needed: for a held publication or, if no ticks arrive, for a recent replay.
    fn is_waiting(&self) -> bool {
        let held = self.held();
        let ticks = held.ticked_at.is_some_and(|at| at.elapsed() < TICKS_WITHIN);
        held.queue.len() > 0 || (!ticks && held.has_replayed_lately())
    }

    // Publications that are not recorded.

    /// Delivers given up publications until the broker is dropped.
    async fn release(&self) {
        loop {
            self.work.notified().await;
            while let Some(given_up) = self.take_given_up() {
                self.deliver_given_up(given_up).await;
            }
        }
    }

    /// Takes the given up publications. Returns `None` and ends the blocking if there are none.
    fn take_given_up(&self) -> Option<Vec<(Event, Instant)>> {
        let mut held = self.held();
        let given_up = std::mem::take(&mut held.given_up);
        held.is_releasing = !given_up.is_empty();
        if held.is_releasing {
            return Some(given_up);
        }
        if self.is_blocking.swap(false, Relaxed) {
            self.released.notify_one();
        }
        None
    }

    /// Delivers publications after raising the journal's floor for them, or without if the store does not answer.
    async fn deliver_given_up(&self, mut given_up: Vec<(Event, Instant)>) {
        let named = given_up.iter().filter(|(event, _)| event.named);
        let ids: Vec<WantedId> = named
            .map(|(event, since)| WantedId {
                id: event.id,
                receiving_since: Some(*since),
            })
            .collect();
        let mut are_new = self.ids.claim_together(&ids).await.into_iter();
        given_up.retain(|(event, _)| {
            let is_new = !event.named || are_new.next() == Some(true);
            if !is_new {
                self.node.deliveries.unreserve(slice::from_ref(event));
            }
            is_new
        });
        if given_up.is_empty() {
            return;
        }
        self.losses.fetch_add(1, Relaxed);
        let _ = self.tick(TickRequest::default()).await;
        self.unrecorded.fetch_add(given_up.len() as u64, Relaxed);
        for (event, _) in given_up {
            self.node.deliveries.unreserve(slice::from_ref(&event));
            self.node.deliveries.push(Item::Event(event, ReplyTo::Dropped));
        }
    }

    fn stop_counting(&self, plain: &PlainPublication<HoldState>) {
        if plain.state.is_counted {
            self.node.deliveries.unreserve(slice::from_ref(&plain.event));
        }
    }
}
