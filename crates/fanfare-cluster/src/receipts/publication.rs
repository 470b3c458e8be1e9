//! One publication, the batch that it belongs to, and a flush.

use std::time::Instant;

use fanfare_core::{Event, Reach, Receipt};
use tokio::sync::oneshot;

/// One publication.
pub(super) struct Publication {
    /// Kept until the event, or its echo, is in the delivery queue.
    event: Option<Event>,
    pub(super) here: Here,
    /// How many listeners it went to, once that is known.
    pub(super) listeners: Option<u32>,
    /// How many of them have replied; this node's echo counts as a reply.
    pub(super) replies: u32,
    /// Further replies are not waited for.
    pub(super) given_up: bool,
    pub(super) receipt: Receipt,
    /// The batch, and the place in it.
    pub(super) batch: (u64, usize),
}

/// Where a publication is on its way to this node's own connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// No connection here should receive it.
    Unwanted,
    /// Its echo should arrive.
    Expected,
    /// It is in the delivery queue.
    Queued,
    /// It was delivered.
    Done,
}

impl Publication {
    pub(super) fn new(event: Event, batch: (u64, usize), expected: bool) -> Self {
        Self {
            event: Some(event),
            here: if expected { Here::Expected } else { Here::Unwanted },
            listeners: None,
            replies: 0,
            given_up: false,
            receipt: Receipt::default(),
            batch,
        }
    }

    /// The event, at the one time that it goes into the delivery queue.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        let event = self.event.take()?;
        self.here = Here::Queued;
        Some(event)
    }

    /// One node delivered it.
    pub(super) fn add(&mut self, reach: Reach) {
        self.receipt.reach += reach;
        self.receipt.nodes += 1;
    }

    /// Whether its receipt is complete.
    pub(super) fn is_complete(&self) -> bool {
        let here = matches!(self.here, Here::Unwanted | Here::Done);
        let replied = |listeners| self.given_up || self.replies >= listeners;
        here && self.listeners.is_some_and(replied)
    }
}

/// The publications of one call, whose receipts are handed out together.
pub(super) struct Batch {
    receipts: Vec<Receipt>,
    open: usize,
    done: oneshot::Sender<Vec<Receipt>>,
}

impl Batch {
    pub(super) fn new(count: usize, done: oneshot::Sender<Vec<Receipt>>) -> Self {
        Self {
            receipts: vec![Receipt::default(); count],
            open: count,
            done,
        }
    }

    /// Whether that was the last one.
    pub(super) fn put(&mut self, index: usize, receipt: Receipt) -> bool {
        if let Some(place) = self.receipts.get_mut(index) {
            *place = receipt;
            self.open -= 1;
        }
        self.open == 0
    }

    pub(super) fn finish(self) {
        // The caller may have gone.
        let _ = self.done.send(self.receipts);
    }
}

/// A request to all nodes to reply once they are through.
pub(super) struct Flush {
    /// Of the same count as publications' numbers: it covers those below it.
    pub(super) token: u64,
    pub(super) since: Instant,
    /// How many were asked.
    pub(super) nodes: Option<u32>,
    pub(super) replies: u32,
}
