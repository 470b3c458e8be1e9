//! The open publications.

use std::collections::VecDeque;

use ahash::AHashMap;
use fanfare_core::history::History;
use tokio::{sync::mpsc, time::Instant};

use super::publication::{Cause, Here, JobReceipts, Listeners, OpenPublication, Overdue};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    interests::Interests,
    recent::Recent,
};

pub(super) struct OpenPublications {
    pub(super) interests: Interests,
    pub(super) publications: AHashMap<u64, OpenPublication>,
    /// The publications that were sent, each with its time. The next check removes complete ones.
    pub(super) published: VecDeque<(Instant, u64)>,
    pub(super) batches: AHashMap<u64, JobReceipts>,
    /// The number of the last flush.
    pub(super) flushed_to: u64,
    /// Until this time a flush directly follows each publication.
    pub(super) flush_until: Option<Instant>,
    /// The publications that were delivered without an echo.
    pub(super) direct: Recent,
    /// Those of `direct` that connections with cursors have not received.
    pub(super) late: Recent,
    pub(super) overdue: mpsc::UnboundedSender<Overdue>,
    /// The number of degraded receipts, for each cause.
    pub(super) degraded: [u64; Cause::NAMES.len()],
}

impl OpenPublications {
    pub(super) fn new(overdue: mpsc::UnboundedSender<Overdue>) -> Self {
        Self {
            interests: Interests::default(),
            publications: AHashMap::new(),
            published: VecDeque::new(),
            batches: AHashMap::new(),
            flushed_to: 0,
            flush_until: None,
            direct: Recent::default(),
            late: Recent::default(),
            overdue,
            degraded: [0; Cause::NAMES.len()],
        }
    }

    /// Returns the numbers of the open publications, in the order of publication.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.publications.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Delivers publication `number` to this node without an echo, at most once. A kept event is delivered only to connections without
    /// cursors, and is fetched for the others.
    pub(super) fn deliver(&mut self, number: u64, deliveries: &Deliveries) {
        let Some(publication) = self.publications.get_mut(&number) else {
            return;
        };
        let position = publication.position;
        let Some(mut event) = publication.take_event() else {
            return;
        };
        let now = Instant::now();
        self.direct.insert(number, now);
        if let Some(position) = position {
            self.late.insert(number, now);
            event.history = History::Late(position);
            // Fails only while the runtime shuts down.
            let _ = self.overdue.send(Overdue {
                audience: event.audience.clone(),
                position,
            });
        }
        deliveries.push(Item::Event(event, ReplyTo::Own(number)));
    }

    /// Delivers `number` directly if its echo was expected. Waits until the transport has reported whether the event is kept.
    pub(super) fn miss(&mut self, number: u64, deliveries: &Deliveries) {
        let Some(publication) = self.publications.get_mut(&number) else {
            return;
        };
        if publication.here != Here::Expected {
            return;
        }
        if publication.wants_place()
            && publication.listeners == Listeners::Unpublished
            && publication.position.is_none()
        {
            publication.is_overdue = true;
        } else {
            self.deliver(number, deliveries);
        }
    }

    /// Returns whether publication `number` still waits for replies.
    pub(super) fn is_waiting(&self, number: u64) -> bool {
        let publication = self.publications.get(&number);
        publication.is_some_and(|publication| !publication.given_up)
    }

    /// Ends the wait for replies about `number`. If replies may be missing, `cause` is the reason.
    pub(super) fn give_up(&mut self, number: u64, cause: Option<Cause>) {
        if let Some(publication) = self.publications.get_mut(&number)
            && !publication.given_up
        {
            publication.given_up = true;
            publication.cause = publication.cause.or(cause);
            self.settle(number);
        }
    }

    pub(super) fn degrade(&mut self, number: u64, cause: Cause) {
        if let Some(publication) = self.publications.get_mut(&number) {
            publication.cause.get_or_insert(cause);
        }
    }

    /// Changes publication `number`, if it is open, and closes it if its receipt is then complete.
    pub(super) fn update(&mut self, number: u64, note: impl FnOnce(&mut OpenPublication)) {
        if let Some(publication) = self.publications.get_mut(&number) {
            note(publication);
        }
        self.settle(number);
    }

    /// Closes publication `number` if its receipt is complete.
    pub(super) fn settle(&mut self, number: u64) {
        if !self
            .publications
            .get(&number)
            .is_some_and(OpenPublication::is_complete)
        {
            return;
        }
        let Some(publication) = self.publications.remove(&number) else {
            return;
        };
        if let Some(cause) = publication.cause {
            self.degraded[cause as usize] += 1;
        }
        let (id, index) = publication.batch;
        if let Some(batch) = self.batches.get_mut(&id)
            && batch.put(index, publication.receipt())
            && let Some(batch) = self.batches.remove(&id)
        {
            batch.finish();
        }
    }
}
