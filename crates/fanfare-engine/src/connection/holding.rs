//! Holds back a connection's live events while it is sent the events that it missed.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{
    Audience, Ending, Event, Opening, Subscription,
    history::{Position, Resumption, Since},
    journal::{Replay, ReplayScope},
};

use super::{Connection, HeldItem, Splice, Tally};
use crate::clock::Moment;

impl Connection {
    /// Notes the requests in its handshake. If it resumes, missed events come before live ones.
    pub(super) fn open_with(&mut self, opening: Option<Box<Opening>>, now: u64) {
        let Some(opening) = opening else { return };
        if opening.resume.is_some() {
            self.hold_for(ReplayScope::default(), now); // until its conversation asks
        }
        self.subscriber.extras.get_or_insert_default().opening = Some(opening);
    }

    /// Keeps the refusal for a client that waits for its response.
    pub(super) fn keep_refusal(&mut self, code: u16, reason: &str) {
        if self.framing().is_body() && (400..600).contains(&code) {
            self.subscriber.extras.get_or_insert_default().refusal = Some((code, reason.into()));
        }
    }

    /// Takes the refusal of its conversation for a client that waits for its response: a status and a message.
    pub(crate) fn take_refusal(&mut self) -> Option<(u16, Box<str>)> {
        self.subscriber.extras.as_mut()?.refusal.take()
    }

    /// Forgets the requests in its handshake, after its conversation has begun.
    pub(crate) fn forget_opening(&mut self) {
        if let Some(extras) = &mut self.subscriber.extras {
            extras.opening = None;
        }
    }

    /// Whether the client has taken nothing for `patience`, although items wait for it.
    pub(super) fn is_stuck(&self, now: u64, patience: u64) -> bool {
        self.subscriber
            .splice()
            .is_some_and(|splice| splice.is_stuck(now, patience))
    }

    /// Whether its events carry cursors.
    pub(crate) fn wants_cursors(&self) -> bool {
        self.subscriber.splice().is_some()
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.subscriber.splice().is_some_and(Splice::is_holding)
    }

    /// Whether it takes events now, or after they were held back.
    pub(crate) fn takes_events_later(&self) -> bool {
        self.is_open() && !self.subscriber.is_paused
    }

    /// Holds back live events from now on. Its events carry cursors.
    pub(crate) fn hold(&mut self, now: u64) {
        self.splice().hold(now);
        self.subscriber.is_shut = true;
    }

    /// Holds back live events while the journal is read for `scope`.
    pub(crate) fn hold_for(&mut self, scope: ReplayScope, now: u64) {
        self.splice().read(scope, now);
        self.subscriber.is_shut = true;
    }

    fn splice(&mut self) -> &mut Splice {
        let extras = self.subscriber.extras.get_or_insert_default();
        extras.splice.get_or_insert_default()
    }

    /// Keeps a frame behind the waiting items, or ends the connection if it is over its limits.
    pub(crate) fn keep_back(
        &mut self,
        frame: Bytes,
        of: Option<(&Audience, Position)>,
        moment: Moment,
    ) -> Tally {
        let settings = self.mounted().settings();
        let (limit, max_bytes) = (settings.send_queue, settings.send_queue_size);
        drop(settings);
        let splice = self.splice();
        let (frames, bytes) = splice.held();
        if frames >= limit || (bytes + frame.len() > max_bytes && frames > 0) {
            self.end(Ending::SlowConsumer, moment);
            return Tally::DROPPED;
        }
        splice.push(HeldItem::Frame(
            frame,
            of.map(|(audience, position)| (audience.clone(), position)),
        ));
        Tally::QUEUED
    }

    /// Keeps an event that must be judged behind the waiting items, or ends the connection if it is over its limits.
    pub(crate) fn keep_back_undecided(&mut self, event: Event, moment: Moment) -> bool {
        let limit = self.mounted().settings().send_queue;
        self.hold(moment.ms);
        let splice = self.splice();
        if splice.live() >= limit {
            self.end(Ending::SlowConsumer, moment);
            return false;
        }
        splice.push(HeldItem::Event(Arc::new(event)));
        true
    }

    /// Whether live events may be repeats of replayed ones.
    pub(crate) fn has_windows(&self) -> bool {
        self.subscriber.splice().is_some_and(Splice::has_windows)
    }

    /// Whether a live event was already replayed to it.
    pub(crate) fn is_repeat(&mut self, event: &Event) -> bool {
        let Some(position) = event.history.position() else {
            return false;
        };
        self.subscriber
            .splice_mut()
            .is_some_and(|splice| splice.is_repeat(&event.audience, position))
    }

    /// Takes the answer of the journal; see [`Splice::take`]. Its conversation gets the result with the next answer.
    pub(crate) fn take_replay(
        &mut self,
        replay: Replay,
        since: Since,
        named: Vec<Subscription>,
    ) -> Resumption {
        let all = self.subscriber.all().filter(|own| !named.contains(own));
        let others = all.cloned().collect();
        let splice = self.splice();
        let resumption = splice.take(replay, since, (named, others));
        splice.resumed = Some(resumption);
        resumption
    }

    /// Forgets the result of a resume, after its conversation has it.
    pub(crate) fn forget_resumption(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.resumed = None;
        }
    }

    /// Whether a waiting item can be sent now.
    pub(crate) fn is_replaying(&self) -> bool {
        self.subscriber
            .splice()
            .is_some_and(|splice| splice.is_holding() && !splice.is_awaiting())
    }

    /// Takes the next item for the client. After the last, events are no longer held back.
    pub(crate) fn next_waiting(&mut self, now: u64) -> Option<HeldItem> {
        let next = self.subscriber.splice_mut()?.next(now);
        if next.is_none() {
            self.release();
        }
        next
    }

    pub(crate) fn put_back_waiting(&mut self, waiting: HeldItem) {
        self.splice().put_back(waiting);
    }

    /// Notes that the authorizer is asked about the first item. Returns the number of the hold that the answer is for.
    pub(crate) fn begin_asking(&mut self) -> u64 {
        self.splice().begin_asking()
    }

    /// Notes that the authorizer has answered. Returns whether the item still waits: the hold with this number may have ended.
    pub(crate) fn end_asking(&mut self, hold: u64) -> bool {
        let splice = self.subscriber.splice_mut();
        splice.is_some_and(|splice| splice.end_asking(hold))
    }

    /// Returns whether its client must learn that it may have missed events; `true` once.
    pub(crate) fn take_interruption(&mut self) -> bool {
        !self.subscriber.is_paused
            && self
                .subscriber
                .splice_mut()
                .is_some_and(Splice::take_interruption)
    }

    /// Notes that it has lost an event: later resumes replay even what was replayed before.
    pub(crate) fn lose(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.lose();
        }
    }

    /// Ends the hold, and drops the waiting items.
    pub(crate) fn release(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.release();
        }
        self.subscriber.is_shut = self.subscriber.is_paused;
    }
}
