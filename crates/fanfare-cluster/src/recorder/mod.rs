//! Plain publications, which backends publish on the transport past all nodes: one node records those whose audience has history, and all nodes
//! deliver the recorded copy in place of the original.
//!
//! The recorder holds a lease ([`RecorderStore`](crate::transport::RecorderStore)) and receives all plain publications by a connection of its
//! own (`feed`). It publishes each again by the journal's script, with the mark [`Envelope::recorded`](crate::wire::Envelope). A second node, the
//! standby, receives the same and knows by the copies what is not recorded yet: when it takes over, it records exactly that.
//!
//! Each node holds the plain publications that it receives until the copy arrives. Whether one is still to come is decided by ticks, which
//! arrive in one order with copies and originals: the store refuses to record what arrived [`RECORDED_WITHIN`] ticks ago, so a node that
//! receives a later tick delivers the original, without a cursor. If the node cannot ask the store for ticks, it does not wait for them, and
//! remembers what it delivers, so that it recognises the copy. What is not recorded raises the journal's floor: no cursor from before is
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
    queue::{Plain, PlainQueue},
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

/// How long the copy of a publication may take that was delivered because the store did not answer: the store refuses to record what is older than
/// a second, as soon as it answers and counts ticks; a connection that hangs longer than this is given up.
const GHOST: Duration = Duration::from_secs(10);
/// While a recorder lives, the next tick arrives within this time.
const TICKS_WITHIN: Duration = Duration::from_millis(450);
/// Bytes of the largest event that is recorded: its copy has an envelope besides, and no node accepts more than [`MAX_BYTES`].
const MAX_RECORDED: usize = MAX_BYTES - (4 << 10);

/// See the module's documentation.
pub(crate) struct Recorder {
    node: Arc<Node>,
    foreign: Arc<Foreign>,
    ids: Arc<Ids>,
    receipts: Arc<Receipts>,
    /// The ids that the feed has claimed or knows to be recorded. What this node delivers is judged by its own memory.
    claimed: IdMemory,
    /// The transport has plain publications.
    is_needed: bool,
    held: Mutex<HeldBack>,
    settling: Settling,
    /// The feed's name as a candidate; 0 for none.
    candidate: AtomicU64,
    is_closing: AtomicBool,
    /// How often publications were delivered that are not recorded, and for how many of these times the journal's floor is raised.
    losses: AtomicU64,
    raised: AtomicU64,
    /// Publications are given up.
    work: Notify,
    /// Some are given up, and what is recorded must not overtake them.
    is_blocking: AtomicBool,
    /// They are delivered.
    released: Notify,
    recorded: AtomicU64,
    unrecorded: AtomicU64,
}

/// What this node holds back.
#[derive(Default)]
struct HeldBack {
    queue: PlainQueue<HoldState>,
    /// What will not be recorded, and is delivered when the floor is raised: a client that resumes before receives it live.
    given_up: Vec<(Event, Instant)>,
    /// Some of it is being delivered.
    is_releasing: bool,
    /// A term began at this tick and records nothing from before.
    began_anew: Option<u64>,
    /// The last tick on this connection, and since when the lease has been vacant: then nothing is recorded until the next one.
    tick: Option<u64>,
    vacant_since: Option<Instant>,
    /// When the last tick arrived.
    ticked_at: Option<Instant>,
    /// Since when the store has not answered, and no tick has arrived.
    silent_since: Option<Instant>,
    /// When a client asked last for what it missed.
    asked_at: Option<Instant>,
}

/// For how long a publication waits.
struct HoldState {
    /// The first tick behind it, once that has arrived.
    tick: Option<u64>,
    held_since: Instant,
    /// It was delivered, and waits for nothing but its copy.
    is_ghost: bool,
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

    /// What it has done; the rest is of the journal.
    pub(crate) fn figures(&self) -> JournalFigures {
        JournalFigures {
            recorded: self.recorded.load(Relaxed),
            unrecorded: self.unrecorded.load(Relaxed),
            awaited: self.held().queue.len() as u64,
            ..JournalFigures::default()
        }
    }

    /// Whether what is published for `audience` is to be recorded.
    fn records(&self, audience: &Audience) -> bool {
        let inbound = &self.node.inbound;
        self.is_needed && inbound.keeps_history() && inbound.retention(audience).is_some()
    }

    /// Whether `event` is to be recorded. All nodes have the same answer, so no node waits for a copy that is never published.
    fn records_event(&self, event: &Event) -> bool {
        let metadata = event.metadata.as_ref().map_or(0, |json| json.bytes().len());
        event.data.bytes().len() + metadata <= MAX_RECORDED && self.records(&event.audience)
    }

    // What arrives.

    /// Takes a plain publication on a user's channel, a channel's, or everyone's.
    pub(crate) fn one(&self, event: Event, since: Instant) {
        if self.records_event(&event) {
            self.hold(event, since);
        } else {
            self.foreign.one(event, since);
        }
    }

    /// Takes the events of a body of the service API.
    pub(crate) fn many(&self, events: Vec<Event>, since: Instant) {
        if !self.is_needed || !events.iter().any(|event| self.records_event(event)) {
            return self.foreign.many(events, since);
        }
        for event in events {
            // The copy arrives only where its audience's channel is subscribed to. While the lease is vacant there is none.
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
            is_ghost: false,
            is_counted: true,
        };
        held.queue.push(event, since, wait);
        if held.silent_since.is_some_and(|at| at.elapsed() > ANSWER_TIMEOUT) {
            // All of them, so that none overtakes an older one.
            self.deliver_held(&mut held, |_| true);
        }
    }

    /// Takes the recorded copy of a plain publication, which is delivered in its place.
    pub(crate) fn copy(&self, copy: Event) {
        let mut held = self.held();
        let plain = held.queue.take(&copy);
        let position = copy.history.position();
        match plain {
            Some(plain) if plain.state.is_ghost => {
                // A client without a cursor for it would be replayed it: the cursor of the last such event is enough.
                let mut others = held.queue.iter();
                let is_last =
                    !others.any(|plain| plain.state.is_ghost && plain.event.audience == copy.audience);
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

    /// A tick has arrived. If copies may wait until a gap is filled (`is_holding`), nothing is given up.
    pub(crate) fn ticked(&self, tick: u64, lease: u8, is_holding: bool) {
        let is_vacant = lease == VACANT;
        let mut held = self.held();
        // An older copy of the store took over.
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
        // Another node's ticks do as well.
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
            // Nothing from before is recorded: newer copies must not overtake it.
            let is_from_before = |first| began_anew.is_some_and(|began| first <= began);
            is_vacant
                || wait
                    .tick
                    .is_some_and(|first| is_from_before(first) || tick >= first + RECORDED_WITHIN)
        };
        for plain in held.queue.take_all(is_over) {
            self.stop_counting(&plain);
            // If nothing here wants it any more, no copy arrives, which says nothing of whether it is recorded.
            if !plain.state.is_ghost && (is_vacant || self.receipts.wants(&plain.event.audience)) {
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

    /// Whether events with a place wait until those are delivered that are given up.
    pub(crate) fn is_blocking(&self) -> bool {
        self.is_blocking.load(Relaxed)
    }

    /// Resolves when events with a place wait no longer.
    pub(crate) async fn released(&self) {
        self.released.notified().await;
    }

    /// The receiving connection was lost: copies may have been, too, and are fetched when it is back. What waits takes no room, without which there
    /// is no next connection.
    pub(crate) fn lost(&self) {
        let mut held = self.held();
        held.vacant_since = None;
        self.settling.lost();
        for plain in held.queue.iter_mut() {
            if std::mem::take(&mut plain.state.is_counted) {
                self.node.deliveries.unreserve(slice::from_ref(&plain.event));
            }
        }
    }

    /// The store has answered, or has not: then ticks are not waited for.
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
                .take_all(|wait| wait.is_ghost && wait.held_since.elapsed() > GHOST),
        );
        self.deliver_held(&mut held, |wait| wait.held_since.elapsed() > ANSWER_TIMEOUT);
    }

    /// Delivers those that `is_due` without waiting for their copies, which are recognised later.
    fn deliver_held(&self, held: &mut HeldBack, is_due: impl Fn(&HoldState) -> bool) {
        for plain in held.queue.iter_mut() {
            if !plain.state.is_ghost && is_due(&plain.state) {
                plain.state.is_ghost = true;
                self.stop_counting(plain);
                plain.state.is_counted = false;
                self.losses.fetch_add(1, Relaxed);
                self.deliver(plain.event.clone(), plain.since);
            }
        }
    }

    /// Whether anything waits for ticks: a publication, or, if none arrive, a client that was just told that it missed nothing.
    fn is_waiting(&self) -> bool {
        let held = self.held();
        let ticks = held.ticked_at.is_some_and(|at| at.elapsed() < TICKS_WITHIN);
        held.queue.len() > 0 || (!ticks && held.has_replayed_lately())
    }

    // What is not recorded.

    /// Delivers what is given up, as often as anything is.
    async fn release(&self) {
        loop {
            self.work.notified().await;
            while let Some(given_up) = self.take_given_up() {
                self.deliver_given_up(given_up).await;
            }
        }
    }

    /// Takes what is given up. If it is nothing, nothing waits for it any more.
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

    /// Delivers these behind the floor that they raise; if the store does not answer, without.
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

    /// Delivers a publication without waiting for the store.
    fn deliver(&self, event: Event, since: Instant) {
        self.unrecorded.fetch_add(1, Relaxed);
        if event.named {
            self.foreign.many(vec![event], since);
        } else {
            self.foreign.one(event, since);
        }
    }

    fn stop_counting(&self, plain: &Plain<HoldState>) {
        if plain.state.is_counted {
            self.node.deliveries.unreserve(slice::from_ref(&plain.event));
        }
    }
}
