//! Holds a connection's live events back while the missed events are replayed to it.

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
    /// Keeps the requests in its handshake. If it resumes, missed events precede live ones.
    pub(super) fn open_with(&mut self, opening: Option<Box<Opening>>, now: u64) {
        let Some(opening) = opening else { return };
        if opening.resume.is_some() {
            self.hold_for(ReplayScope::default(), now); // until its conversation resumes
        }
        self.subscriber.extras.get_or_insert_default().opening = Some(opening);
    }

    /// Keeps the refusal for a client that still waits for its response.
    pub(super) fn keep_refusal(&mut self, code: u16, reason: &str) {
        if self.framing().is_body() && (400..600).contains(&code) {
            self.subscriber.extras.get_or_insert_default().refusal = Some((code, reason.into()));
        }
    }

    /// Takes the refusal for a client that still waits for its response: a status and a message.
    pub(crate) fn take_refusal(&mut self) -> Option<(u16, Box<str>)> {
        self.subscriber.extras.as_mut()?.refusal.take()
    }

    /// Drops the requests in its handshake, after its conversation has begun.
    pub(crate) fn forget_opening(&mut self) {
        if let Some(extras) = &mut self.subscriber.extras {
            extras.opening = None;
        }
    }

    /// Returns whether the client has taken nothing for `patience`, although items wait for it.
    pub(super) fn is_stuck(&self, now: u64, patience: u64) -> bool {
        self.subscriber
            .splice()
            .is_some_and(|splice| splice.is_stuck(now, patience))
    }

    /// Returns whether its events carry cursors.
    pub(crate) fn wants_cursors(&self) -> bool {
        self.subscriber.splice().is_some()
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.subscriber.splice().is_some_and(Splice::is_holding)
    }

    /// Returns whether it takes events, at once or after a hold.
    pub(crate) fn takes_events_later(&self) -> bool {
        self.is_open() && !self.subscriber.is_paused
    }

    /// Holds live events back from now on. Its events carry cursors.
    pub(crate) fn hold(&mut self, now: u64) {
        self.splice().hold(now);
        self.subscriber.is_blocked = true;
    }

    /// Holds live events back while the journal is read for `scope`.
    pub(crate) fn hold_for(&mut self, scope: ReplayScope, now: u64) {
        self.splice().read(scope, now);
        self.subscriber.is_blocked = true;
    }

    fn splice(&mut self) -> &mut Splice {
        let extras = self.subscriber.extras.get_or_insert_default();
        extras.splice.get_or_insert_default()
    }

    /// Queues a frame behind the waiting items, or ends the connection if it is over its limits.
    pub(crate) fn hold_frame(
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

    /// Queues an undecided event behind the waiting items, or ends the connection if it is over its limits. Returns whether the
    /// event was queued.
    pub(crate) fn hold_event(&mut self, event: Event, moment: Moment) -> bool {
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

    /// Returns whether a live event may repeat a replayed one.
    pub(crate) fn has_windows(&self) -> bool {
        self.subscriber.splice().is_some_and(Splice::has_windows)
    }

    /// Returns whether a live event was already replayed to it.
    pub(crate) fn is_repeat(&mut self, event: &Event) -> bool {
        let Some(position) = event.history.position() else {
            return false;
        };
        self.subscriber
            .splice_mut()
            .is_some_and(|splice| splice.is_repeat(&event.audience, position))
    }

    /// Takes the result of the journal; see [`Splice::take`]. Its conversation gets the result with the next answer.
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

    /// Drops the result of a resume, after its conversation has it.
    pub(crate) fn forget_resumption(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.resumed = None;
        }
    }

    /// Returns whether waiting items can be sent now.
    pub(crate) fn is_replaying(&self) -> bool {
        self.subscriber
            .splice()
            .is_some_and(|splice| splice.is_holding() && !splice.is_awaiting())
    }

    /// Takes the next item for the client. After the last, the hold ends.
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

    /// Records that the authorizer is asked about the first item. Returns the number of the hold.
    pub(crate) fn begin_asking(&mut self) -> u64 {
        self.splice().begin_asking()
    }

    /// Records that the authorizer has answered. Returns whether the hold with this number lasts, so that the item still waits.
    pub(crate) fn end_asking(&mut self, hold: u64) -> bool {
        let splice = self.subscriber.splice_mut();
        splice.is_some_and(|splice| splice.end_asking(hold))
    }

    /// Returns `true` once if a resume must report to its client that it may have missed events.
    pub(crate) fn take_interruption(&mut self) -> bool {
        !self.subscriber.is_paused
            && self
                .subscriber
                .splice_mut()
                .is_some_and(Splice::take_interruption)
    }

    /// Records the loss of an event: later resumes replay all events after their cursor, replayed ones included.
    pub(crate) fn mark_incomplete(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.mark_incomplete();
        }
    }

    /// Ends the hold, and drops the waiting items.
    pub(crate) fn release(&mut self) {
        if let Some(splice) = self.subscriber.splice_mut() {
            splice.release();
        }
        self.subscriber.is_blocked = self.subscriber.is_paused;
    }
}
