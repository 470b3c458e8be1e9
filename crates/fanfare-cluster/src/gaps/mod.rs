//! Events that the transport lost on the way to this node: found, and fetched from the journal once for all its connections.
//!
//! Each event that is kept names the number before it of its audience. If this node has not received that, what is missing is fetched
//! before anything with a higher number is delivered: a client that has an event's cursor has everything before it. What was lost
//! right before silence is found by comparing last numbers with the journal: every few seconds for some of the audiences, and for
//! all of them after the receiving connection was opened again. If this node receives all channels, it asks for those that it has never
//! received, too. What cannot be fetched is reported to the node ([`Inbound::on_gap`](fanfare_core::Inbound::on_gap)).
//!
//! An event of this node's own whose echo stays out is fetched as well: connections with cursors receive it in its place among the others.
//!
//! An event that no journal has kept passes through here by one comparison.

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
    watched::{Verdict, Waiting, Watched},
};
use crate::{
    arrivals::{Arrivals, ArrivedEvent},
    deliveries::Item,
};

/// The default of how many audiences a node watches for gaps.
pub const MAX_WATCHED: usize = 100_000;
/// The default of how many events are fetched for one gap.
pub const MAX_FETCHED: usize = 1000;
/// Losses that are reported one by one in one round of the task that looks for them. What is lost beyond that is reported once, for all
/// audiences: each report is one message for every connection that it concerns.
const MAX_REPORTS: usize = 100;

/// See the module's documentation.
pub(crate) struct Gaps {
    arrivals: Arc<Arrivals>,
    state: Mutex<GapState>,
    /// Events wait, or audiences are new.
    work: Notify,
    /// Anything was watched since the start.
    is_used: AtomicBool,
    found: AtomicU64,
    filled: AtomicU64,
    lost: AtomicU64,
    /// How many audiences the journal knew when it was asked last.
    journals: AtomicU64,
    max_fetched: usize,
}

struct GapState {
    watched: Watched<ArrivedEvent>,
    /// Audiences whose last numbers are not known yet.
    new: Vec<Audience>,
    /// All channels are received, and it is not known from which number on.
    is_all_new: bool,
    uncertain: Uncertain,
    /// What may be lost is not reported, because no number of the journal is known yet: the first event tells one.
    owes_report: bool,
    comparison: Comparison,
    /// Where the next comparison begins, and how many there have been.
    next: usize,
    comparisons: u32,
    /// Losses that were reported one by one in this round.
    reports: usize,
    /// That anything may be lost up to this number is reported to all.
    reported: u64,
    /// The first floor of the journal that cursors were compared with; then the last one that was seen.
    floor: Option<u64>,
    /// When it was seen that the floor is higher, unless that is reported.
    raised_at: Option<Instant>,
    /// Since when this node may have missed what raises the floor: the receiving connection was lost, or the recorder has changed. Either
    /// may be noticed before or after the raised floor is seen.
    lost_at: Option<Instant>,
}

/// A gap before an event that waits.
struct Missing {
    audience: Audience,
    /// The last number that was received.
    after: u64,
    /// The number before the event.
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
                owes_report: false,
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

    /// What is known of the journal, and what became of gaps; the rest is the recorder's.
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

    /// This node holds `interest` from now on.
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

    /// A connection of this node was given all that `scope` has up to `present`: what is behind that must arrive. Its cursor was compared
    /// with `floor`.
    pub(crate) fn shown(&self, scope: &ReplayScope, present: Cursor, floor: u64) {
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
            state.watched.shown(present, audience);
        }
        if has_all {
            state.watched.shown_all_channels(present);
        }
    }

    /// A connection of this node was told that the journal does not answer, and relies on what arrives from now on.
    pub(crate) fn not_shown(&self, scope: &ReplayScope) {
        let (received, has_all) = self.received(scope);
        let mut state = self.state();
        let number = state.watched.cursor().map_or(0, |cursor| cursor.number);
        state.rely(received, has_all, number);
    }

    /// The audiences of `scope` that have history and that this node receives, and whether its patterns are among them.
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

    /// This node does not hold `interest` any more.
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

    /// The receiving connection was lost. What the next one brings waits until the gaps between them are known. What waits already is
    /// fetched again with the rest: it must not take the room without which there is no next connection.
    pub(crate) fn lost(&self) {
        let keeps_history = self.arrivals.node.inbound.keeps_history();
        let mut state = self.state();
        // Before the first connection, there is no floor that could be raised meanwhile.
        state.lost_at = state.floor.map(|_| Instant::now());
        for waiting in state.watched.take_held() {
            let deliveries = &self.arrivals.node.deliveries;
            deliveries.unreserve(slice::from_ref(&waiting.event.event));
            if waiting.position.is_none() {
                self.arrivals.take(waiting.event);
            } else if let Some(envelope) = &waiting.event.envelope {
                self.arrivals.decline(envelope);
            }
        }
        // Connections may resume before the next one is there.
        if keeps_history || !state.watched.is_empty() {
            state.watched.hold();
            state.comparison = Comparison::NotYet;
        }
    }

    /// This node may not have received what raises the journal's floor. The next comparison reports it, even if the higher floor was seen before.
    pub(crate) fn doubt(&self) {
        self.state().lost_at = Some(Instant::now());
    }

    /// All subscriptions of the receiving connection are in force.
    pub(crate) fn in_force(&self) {
        let mut state = self.state();
        if state.comparison == Comparison::NotYet {
            state.comparison = Comparison::due();
            self.work.notify_one();
        }
    }

    /// Passes an event on, unless it was received before, or something before it is missing.
    pub(crate) fn arrived(&self, arrived: ArrivedEvent) {
        let position = arrived.event.history.position();
        if position.is_none() && !(self.is_used.load(Relaxed) && self.holds(&arrived.event.audience)) {
            self.arrivals.take(arrived);
            return;
        }
        self.is_used.store(true, Relaxed);
        let mut state = self.state();
        let waiting = Waiting {
            audience: arrived.event.audience.clone(),
            position,
            event: arrived,
        };
        if waiting.position.is_some() && self.arrivals.recorder.is_blocking() {
            state.watched.hold();
        }
        if state.watched.is_holding() {
            self.expect(&waiting);
            state.watched.wait(waiting);
        } else if let Some((waiting, _)) = self.judge(&mut state, waiting) {
            self.found.fetch_add(1, Relaxed);
            self.expect(&waiting);
            state.watched.wait(waiting);
            self.work.notify_one();
        }
    }

    /// Whether events wait until a gap is filled.
    pub(crate) fn is_holding(&self) -> bool {
        self.state().watched.is_holding()
    }

    /// Whether an event without a place waits for those that have one.
    fn holds(&self, audience: &Audience) -> bool {
        let state = self.state();
        state.watched.is_holding() && state.watched.is_watched(audience)
    }

    /// Counts an event that waits in the backlog of deliveries.
    fn expect(&self, waiting: &Waiting<ArrivedEvent>) {
        let deliveries = &self.arrivals.node.deliveries;
        deliveries.reserve(slice::from_ref(&waiting.event.event));
    }

    /// Passes `waiting` on, if nothing is missing before it; else returns it with the gap.
    fn judge(
        &self,
        state: &mut GapState,
        waiting: Waiting<ArrivedEvent>,
    ) -> Option<(Waiting<ArrivedEvent>, Missing)> {
        let wanted = waiting
            .position
            .filter(|_| self.arrivals.receipts.wants(&waiting.audience));
        if let Some(position) = wanted {
            // Nearly always nothing is uncertain.
            let is_watched = state.uncertain.is_empty() || state.watched.is_watched(&waiting.audience);
            let Position { epoch, number, prev } = position;
            let number = number.saturating_sub(1);
            let before = Cursor { epoch, number };
            let mut verdict = state.watched.judge(&waiting.audience, position);
            if verdict == Verdict::NewEpoch {
                self.begin(state, before);
                verdict = state.watched.judge(&waiting.audience, position);
            }
            if std::mem::take(&mut state.owes_report) {
                self.give_up(state, before);
            }
            let uncertain = &mut state.uncertain;
            if !uncertain.is_empty() && uncertain.is_lost_before(&waiting.audience, is_watched, prev) {
                self.report(
                    state,
                    waiting.audience.clone(),
                    prev,
                    before,
                    Unrecovered::Expired,
                );
            }
            match verdict {
                Verdict::Pass => {}
                Verdict::Known | Verdict::NewEpoch => {
                    if let Some(envelope) = &waiting.event.envelope {
                        self.arrivals.decline(envelope);
                    }
                    return None;
                }
                Verdict::Gap(after) => {
                    let missing = Missing {
                        audience: waiting.audience.clone(),
                        after,
                        up_to: position.prev,
                        epoch: position.epoch,
                    };
                    return Some((waiting, missing));
                }
            }
        }
        self.arrivals.take(waiting.event);
        None
    }

    /// The journal is at `present`. Returns whether it is another one, which is reported.
    fn begin(&self, state: &mut GapState, present: Cursor) -> bool {
        let is_new = state.watched.begin(present);
        if is_new {
            (state.floor, state.raised_at, state.uncertain) = (None, None, Uncertain::default());
            self.report_all(state, present, Unrecovered::Epoch);
        }
        is_new
    }

    /// The journal does not answer, so anything may be lost up to `present`. From there on clients rely on what is not watched yet, too.
    fn give_up(&self, state: &mut GapState, present: Cursor) {
        self.report_all(state, present, Unrecovered::Expired);
        let (new, is_all_new) = (state.new.clone(), state.is_all_new);
        state.rely(new, is_all_new, present.number);
    }

    /// Reports that anything may be lost that was published until now.
    fn report_all(&self, state: &mut GapState, present: Cursor, reason: Unrecovered) {
        state.reports = 0;
        state.reported = state.watched.highest().max(present.number);
        self.push(None, present, reason);
    }

    /// Reports that something of `audience` up to `number` may be lost, unless that is reported already.
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
            self.push(Some(audience), present, reason);
        }
    }

    /// Puts a report behind all that was delivered before.
    fn push(&self, audience: Option<Audience>, present: Cursor, reason: Unrecovered) {
        self.arrivals.node.deliveries.push(Item::Gap(Gap {
            audience,
            present,
            reason,
        }));
    }
}

impl GapState {
    /// Clients rely on these audiences, and on all channels if `has_all`, behind `number`. Those that are watched need no more.
    fn rely(&mut self, audiences: Vec<Audience>, has_all: bool, number: u64) {
        for audience in audiences {
            if self.watched.has_room() && !self.watched.is_watched(&audience) {
                self.uncertain.add(audience, number);
            }
        }
        if has_all && self.watched.all_channels().is_none() {
            self.uncertain.add_all_channels(number);
        }
    }
}

/// The audience of an interest; `None` for all channels.
fn audience(interest: &Interest) -> Option<Audience> {
    match interest {
        Interest::User(user) => Some(Audience::User(user.clone())),
        Interest::Channel(channel) => Some(Audience::Channel(channel.clone())),
        Interest::AllChannels => None,
    }
}
