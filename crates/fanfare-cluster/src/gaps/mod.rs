//! Finds events that the transport lost on the way to this node, and fetches them from the journal once for all connections.
//!
//! Each kept event names the previous number of its audience. If this node has not received that number, it fetches the missing events
//! before it delivers a higher number: a client that has an event's cursor has all earlier events.
//!
//! A lost event that no later event follows is found by a comparison of last numbers with the journal. The node compares some audiences
//! every few seconds, and all audiences after a reconnect. A node that receives all channels also requests channels that it has never
//! received. Events that cannot be fetched are reported to the node ([`Inbound::on_gap`](fanfare_core::Inbound::on_gap)).
//!
//! An event that this node published, and whose echo is missing, is fetched as well: connections with cursors receive it in its place.
//!
//! An event that is not kept passes this module with one comparison.

mod compare;
mod fill;
mod run;
#[cfg(test)]
mod tests;
mod uncertain;
mod watched;

use std::{
    slice,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use fanfare_core::{
    Audience, Gap, Interest,
    history::{Cursor, Epoch, Position, Unrecovered},
    journal::{JournalFigures, ReplayScope},
    locked,
};
use tokio::sync::Notify;

use self::compare::Comparison;
pub(crate) use self::run::run;
use self::{
    uncertain::Uncertain,
    watched::{Verdict, Watched, place},
};
use crate::{
    arrivals::{Arrivals, ArrivedEvent},
    deliveries::Item,
};

/// The default limit of audiences that a node watches for gaps.
pub const MAX_WATCHED: usize = 100_000;
/// The default limit of events that are fetched for one gap.
pub const MAX_FETCHED: usize = 1000;
/// The limit of losses that one round of the task reports separately. Further losses are one report for all audiences, because each
/// report is a message to every connection that it concerns.
const MAX_REPORTS: usize = 100;

/// See the module's documentation.
pub(crate) struct Gaps {
    arrivals: Arc<Arrivals>,
    state: Mutex<GapState>,
    /// Notified when events wait or audiences are new.
    work: Notify,
    /// Whether an audience was ever watched.
    is_used: AtomicBool,
    found: AtomicU64,
    filled: AtomicU64,
    lost: AtomicU64,
    /// The number of audiences in the journal at the last comparison.
    journals: AtomicU64,
    max_fetched: usize,
}

struct GapState {
    watched: Watched,
    /// The audiences whose last numbers are still unknown.
    new: Vec<Audience>,
    /// Whether all channels are received, from a number that is still unknown.
    is_all_new: bool,
    uncertain: Uncertain,
    /// Whether a loss is to be reported as soon as an event shows a number of the journal.
    is_report_pending: bool,
    comparison: Comparison,
    /// The index at which the next comparison begins.
    next: usize,
    comparisons: u32,
    /// The losses that were reported separately in this round.
    reports: usize,
    /// Losses up to this number are reported for all audiences.
    reported: u64,
    /// The first floor of the journal that cursors were compared with; after a comparison, the last floor.
    floor: Option<u64>,
    /// The time at which the floor was found raised, until that is reported.
    raised_at: Option<Instant>,
    /// The last time at which this node may have missed the events that raise the floor: the receiving connection was lost, or the
    /// recorder changed. The node may notice that before or after the raised floor.
    lost_at: Option<Instant>,
}

/// A gap in the numbers of an audience.
struct Missing {
    audience: Audience,
    /// The last number before the gap.
    after: u64,
    /// The last number in the gap.
    up_to: u64,
    epoch: Epoch,
}

impl Gaps {
    pub(crate) fn new(arrivals: Arc<Arrivals>, max_watched: usize, max_fetched: usize) -> Self {
        Self {
            arrivals,
            state: Mutex::new(GapState {
                watched: Watched::new(max_watched),
                new: Vec::new(),
                is_all_new: false,
                uncertain: Uncertain::default(),
                is_report_pending: false,
                comparison: Comparison::Done,
                next: 0,
                comparisons: 0,
                reports: 0,
                reported: 0,
                floor: None,
                raised_at: None,
                lost_at: None,
            }),
            work: Notify::new(),
            is_used: AtomicBool::new(false),
            found: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            journals: AtomicU64::new(0),
            max_fetched,
        }
    }

    fn state(&self) -> MutexGuard<'_, GapState> {
        locked(&self.state)
    }

    /// Returns the figures of gaps, and the recorder's.
    pub(crate) fn figures(&self) -> JournalFigures {
        JournalFigures {
            journals: self.journals.load(Relaxed),
            watched: self.state().watched.len() as u64,
            gaps_found: self.found.load(Relaxed),
            gaps_filled: self.filled.load(Relaxed),
            gaps_lost: self.lost.load(Relaxed),
            ..self.arrivals.recorder.figures()
        }
    }

    #[cfg(test)]
    pub(crate) fn has_new(&self) -> bool {
        let state = self.state();
        !state.new.is_empty() || state.is_all_new
    }

    /// Starts to watch the audiences of `interest`, if they have history.
    pub(crate) fn watch(&self, interest: &Interest) {
        let inbound = &self.arrivals.node.inbound;
        match audience(interest) {
            Some(audience) if inbound.retention(&audience).is_some() => self.state().new.push(audience),
            None if inbound.keeps_history() => self.state().is_all_new = true,
            Some(_) | None => return,
        }
        self.is_used.store(true, Relaxed);
        self.work.notify_one();
    }

    /// Notes that a connection received a replay of `scope` up to `present`, so later events must arrive. The connection's cursor was
    /// compared with `floor`.
    pub(crate) fn replayed(&self, scope: &ReplayScope, present: Cursor, floor: u64) {
        let (received, has_all) = self.received(scope);
        let mut state = self.state();
        if state
            .watched
            .cursor()
            .is_none_or(|known| known.epoch == present.epoch)
        {
            state.floor.get_or_insert(floor);
        }
        for audience in received {
            state.watched.replayed(present, audience);
        }
        if has_all {
            state.watched.watch_all_channels(present);
        }
    }

    /// Notes that a replay of `scope` failed, so a connection relies on the events from now on.
    pub(crate) fn replay_failed(&self, scope: &ReplayScope) {
        let (received, has_all) = self.received(scope);
        let mut state = self.state();
        let number = state.watched.cursor().map_or(0, |cursor| cursor.number);
        state.add_uncertain(received, has_all, number);
    }

    /// Returns the audiences of `scope` that have history and that this node receives, and whether it receives the patterns.
    fn received(&self, scope: &ReplayScope) -> (Vec<Audience>, bool) {
        let (inbound, receipts) = (&self.arrivals.node.inbound, &self.arrivals.receipts);
        let is_received =
            |audience: &Audience| receipts.wants(audience) && inbound.retention(audience).is_some();
        let received: Vec<Audience> = scope.named().filter(is_received).collect();
        let has_all = !scope.patterns.is_empty() && inbound.keeps_history() && receipts.wants_all_channels();
        if has_all || !received.is_empty() {
            self.is_used.store(true, Relaxed);
        }
        (received, has_all)
    }

    /// Stops to watch the audiences that no other interest covers.
    pub(crate) fn unwatch(&self, interest: &Interest) {
        if !self.is_used.load(Relaxed) {
            return;
        }
        let mut state = self.state();
        match audience(interest) {
            Some(audience) if !self.arrivals.receipts.wants(&audience) => {
                state.watched.forget(&audience);
                state.uncertain.forget(&audience);
            }
            Some(_) => {}
            None => {
                state.is_all_new = false;
                state.watched.forget_all_channels();
                let receipts = &self.arrivals.receipts;
                state.watched.retain(|audience| receipts.wants(audience));
                state.uncertain.retain(|audience| receipts.wants(audience));
            }
        }
    }

    /// Handles the loss of the receiving connection. Events on the next connection wait until the gaps between both are known. Kept
    /// events that already wait are dropped and fetched again: without their room, no next connection is opened.
    pub(crate) fn lost(&self) {
        let keeps_history = self.arrivals.node.inbound.keeps_history();
        let mut state = self.state();
        // Without a known floor, a raised floor cannot be noticed.
        state.lost_at = state.floor.map(|_| Instant::now());
        for waiting in state.watched.take_held() {
            self.unreserve(&waiting);
            if place(&waiting).is_none() {
                self.arrivals.take(waiting);
            } else if let Some(envelope) = &waiting.envelope {
                self.arrivals.decline(envelope);
            }
        }
        // Clients may resume before the next connection is open.
        if keeps_history || !state.watched.is_empty() {
            state.watched.hold();
            state.comparison = Comparison::NotYet;
        }
    }

    /// Notes that this node may have missed events that raise the journal's floor. The next comparison reports the loss, even if the raised
    /// floor was found before.
    pub(crate) fn suspect_loss(&self) {
        self.state().lost_at = Some(Instant::now());
    }

    /// Requests the comparison of all audiences, because the subscriptions of the receiving connection are in force.
    pub(crate) fn in_force(&self) {
        let mut state = self.state();
        if state.comparison == Comparison::NotYet {
            state.comparison = Comparison::due();
            self.work.notify_one();
        }
    }

    /// Routes an event. Drops it if it was received before; lets it wait if events before it are missing.
    pub(crate) fn arrived(&self, arrived: ArrivedEvent) {
        let position = arrived.event.history.position();
        if position.is_none() && !(self.is_used.load(Relaxed) && self.holds(&arrived.event.audience)) {
            self.arrivals.take(arrived);
            return;
        }
        self.is_used.store(true, Relaxed);
        let mut state = self.state();
        if position.is_some() && self.arrivals.recorder.is_blocking() {
            state.watched.hold();
        }
        if state.watched.is_holding() {
            self.reserve(&arrived);
            state.watched.push_back(arrived);
        } else if let Some((waiting, _)) = self.route(&mut state, arrived) {
            self.found.fetch_add(1, Relaxed);
            self.reserve(&waiting);
            state.watched.push_back(waiting);
            self.work.notify_one();
        }
    }

    /// Returns whether events wait until a gap is filled.
    pub(crate) fn is_holding(&self) -> bool {
        self.state().watched.is_holding()
    }

    /// Returns whether an event for `audience` that is not kept must wait for earlier kept events.
    fn holds(&self, audience: &Audience) -> bool {
        let state = self.state();
        state.watched.is_holding() && state.watched.is_watched(audience)
    }

    /// Adds a waiting event to the backlog of deliveries.
    fn reserve(&self, waiting: &ArrivedEvent) {
        let deliveries = &self.arrivals.node.deliveries;
        deliveries.reserve(slice::from_ref(&waiting.event));
    }

    /// Undoes [`Self::reserve`].
    fn unreserve(&self, waiting: &ArrivedEvent) {
        let deliveries = &self.arrivals.node.deliveries;
        deliveries.unreserve(slice::from_ref(&waiting.event));
    }

    /// Routes `arrived`, unless events before it are missing: then returns it with the gap.
    fn route(&self, state: &mut GapState, arrived: ArrivedEvent) -> Option<(ArrivedEvent, Missing)> {
        let audience = &arrived.event.audience;
        let wanted = place(&arrived).filter(|_| self.arrivals.receipts.wants(audience));
        if let Some(position) = wanted {
            // Usually no audience is uncertain.
            let is_watched = state.uncertain.is_empty() || state.watched.is_watched(audience);
            let Position { epoch, number, prev } = position;
            let number = number.saturating_sub(1);
            let before = Cursor { epoch, number };
            let mut verdict = state.watched.judge(audience, position);
            if verdict == Verdict::NewEpoch {
                self.note_epoch(state, before);
                verdict = state.watched.judge(audience, position);
            }
            if std::mem::take(&mut state.is_report_pending) {
                self.give_up(state, before);
            }
            let uncertain = &mut state.uncertain;
            if !uncertain.is_empty() && uncertain.is_lost_before(audience, is_watched, prev) {
                self.report(state, audience.clone(), prev, before, Unrecovered::Expired);
            }
            match verdict {
                Verdict::Pass => {}
                Verdict::Duplicate | Verdict::NewEpoch => {
                    if let Some(envelope) = &arrived.envelope {
                        self.arrivals.decline(envelope);
                    }
                    return None;
                }
                Verdict::Gap(after) => {
                    let missing = Missing {
                        audience: audience.clone(),
                        after,
                        up_to: prev,
                        epoch,
                    };
                    return Some((arrived, missing));
                }
            }
        }
        self.arrivals.take(arrived);
        None
    }

    /// Notes the journal's cursor. If the epoch is new, reports that, and returns `true`.
    fn note_epoch(&self, state: &mut GapState, present: Cursor) -> bool {
        let is_new = state.watched.note_epoch(present);
        if is_new {
            (state.floor, state.raised_at, state.uncertain) = (None, None, Uncertain::default());
            self.report_all(state, present, Unrecovered::Epoch);
        }
        is_new
    }

    /// Reports all events up to `present` as lost, because the journal does not answer. From there on, new audiences are uncertain.
    fn give_up(&self, state: &mut GapState, present: Cursor) {
        self.report_all(state, present, Unrecovered::Expired);
        let (new, is_all_new) = (state.new.clone(), state.is_all_new);
        state.add_uncertain(new, is_all_new, present.number);
    }

    /// Reports that any event published until now may be lost.
    fn report_all(&self, state: &mut GapState, present: Cursor, reason: Unrecovered) {
        state.reports = 0;
        state.reported = state.watched.highest().max(present.number);
        self.push_report(None, present, reason);
    }

    /// Reports that events of `audience` up to `number` may be lost, unless that is already reported.
    fn report(
        &self,
        state: &mut GapState,
        audience: Audience,
        number: u64,
        present: Cursor,
        reason: Unrecovered,
    ) {
        self.lost.fetch_add(1, Relaxed);
        if number <= state.reported {
            return;
        }
        state.reports += 1;
        if state.reports > MAX_REPORTS {
            self.report_all(state, present, reason);
        } else {
            self.push_report(Some(audience), present, reason);
        }
    }

    /// Appends a report to the delivery queue.
    fn push_report(&self, audience: Option<Audience>, present: Cursor, reason: Unrecovered) {
        self.arrivals.node.deliveries.push(Item::Gap(Gap {
            audience,
            present,
            reason,
        }));
    }
}

impl GapState {
    /// Marks audiences as uncertain from `number` on, and all channels if `has_all`. Watched audiences are not uncertain.
    fn add_uncertain(&mut self, audiences: Vec<Audience>, has_all: bool, number: u64) {
        for audience in audiences {
            if !self.watched.is_full() && !self.watched.is_watched(&audience) {
                self.uncertain.add(audience, number);
            }
        }
        if has_all && self.watched.all_channels().is_none() {
            self.uncertain.add_all_channels(number);
        }
    }
}

/// Returns the audience of an interest; `None` for all channels.
fn audience(interest: &Interest) -> Option<Audience> {
    match interest {
        Interest::User(user) => Some(Audience::User(user.clone())),
        Interest::Channel(channel) => Some(Audience::Channel(channel.clone())),
        Interest::AllChannels => None,
    }
}
