//! One publication, and its batch.

use fanfare_core::{Audience, Event, Reach, Receipt, history::Position};
use tokio::sync::oneshot;

use crate::transport::Accepted;

/// One publication.
pub(super) struct OpenPublication {
    /// The event, until it or its echo is in the delivery queue.
    event: Option<Event>,
    pub(super) here: Here,
    /// Whether the subscription for its echo may not be in force yet.
    pub(super) is_uncertain: bool,
    /// The event's place in the journal, if it is kept.
    pub(super) position: Option<Position>,
    /// Whether its echo is overdue while it is unknown whether the event is kept.
    pub(super) is_overdue: bool,
    pub(super) listeners: Listeners,
    /// The number of replies, including this node's echo.
    pub(super) replies: u32,
    /// Whether the publication does not wait for replies, or no longer.
    pub(super) given_up: bool,
    reach: Reach,
    nodes: u32,
    /// Why the receipt is degraded, if it is.
    pub(super) cause: Option<Cause>,
    /// The number of the batch, and the index in it.
    pub(super) batch: (u64, usize),
}

/// A kept publication of this node whose echo is missing.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) audience: Audience,
    pub(crate) position: Position,
}

/// The transport's report of a publication.
pub(crate) struct SendReport {
    pub(super) number: u64,
    pub(super) listeners: Listeners,
    /// The event's place in the journal, if it is kept.
    pub(super) position: Option<Position>,
    /// Whether its id, if it has one, is shared with the other nodes.
    pub(super) is_id_shared: bool,
    /// Whether a node may not have received it.
    pub(super) is_node_missing: bool,
}

impl SendReport {
    /// Returns the report of publication `number`. `accepted` is `None` if the transport did not carry it.
    pub(crate) fn new(number: u64, accepted: Option<&Accepted>, is_node_missing: bool) -> Self {
        Self {
            number,
            listeners: accepted.map_or(Listeners::Unpublished, |accepted| {
                let counted = accepted.listeners.map(Listeners::Counted);
                counted.unwrap_or(Listeners::Uncounted)
            }),
            position: accepted.and_then(|accepted| accepted.position),
            is_id_shared: accepted.is_none_or(|accepted| accepted.id_refused.is_none()),
            is_node_missing,
        }
    }
}

/// The number of listeners of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listeners {
    /// It is not yet published, or the publication may have failed.
    Unpublished,
    /// The transport does not count listeners.
    Uncounted,
    Counted(u32),
}

/// Why a receipt is degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The transport is away or refused the publication.
    Away,
    /// A node may have missed it.
    NodeMissing,
    /// No other node knows its id.
    IdsNotShared,
    /// Replies are missing.
    TimedOut,
}

impl Cause {
    /// The causes' names in metrics.
    pub(super) const NAMES: [&'static str; 4] =
        ["broker_away", "node_missing", "ids_not_shared", "timed_out"];
}

/// The state of a publication's delivery to this node's own connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// No connection of this node should receive it.
    Unwanted,
    /// Its echo is expected.
    Expected,
    /// It is in the delivery queue.
    Queued,
    /// It was delivered.
    Done,
}

impl OpenPublication {
    pub(super) fn new(event: Event, batch: (u64, usize), expected: bool) -> Self {
        Self {
            position: None,
            is_overdue: false,
            event: Some(event),
            here: if expected { Here::Expected } else { Here::Unwanted },
            is_uncertain: false,
            listeners: Listeners::Unpublished,
            replies: 0,
            given_up: false,
            reach: Reach::default(),
            nodes: 0,
            cause: None,
            batch,
        }
    }

    /// Returns whether the journal should keep it, and it is not yet in the delivery queue.
    pub(super) fn wants_place(&self) -> bool {
        let event = self.event.as_ref();
        event.is_some_and(|event| event.history.wanted().is_some())
    }

    /// Takes the event for the delivery queue. Returns `None` after the first call.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        let event = self.event.take()?;
        self.here = Here::Queued;
        Some(event)
    }

    /// Adds the reach of one node.
    pub(super) fn add(&mut self, reach: Reach) {
        self.reach += reach;
        self.nodes += 1;
    }

    pub(super) fn receipt(&self) -> Receipt {
        Receipt {
            reach: self.reach,
            nodes: self.nodes,
            degraded: self.cause.is_some(),
            is_duplicate: false,
        }
    }

    /// Returns whether its receipt is complete.
    pub(super) fn is_complete(&self) -> bool {
        let here = matches!(self.here, Here::Unwanted | Here::Done);
        here && self.listeners != Listeners::Unpublished && !self.awaits_replies()
    }

    /// Returns whether it waits for replies of other nodes.
    pub(super) fn awaits_replies(&self) -> bool {
        let all_replied =
            matches!(self.listeners, Listeners::Counted(listeners) if self.replies >= listeners);
        !self.given_up && !all_replied
    }
}

/// The receipts of one call, which are returned together.
pub(super) struct JobReceipts {
    receipts: Vec<Receipt>,
    open: usize,
    done: oneshot::Sender<Vec<Receipt>>,
}

impl JobReceipts {
    pub(super) fn new(count: usize, done: oneshot::Sender<Vec<Receipt>>) -> Self {
        Self {
            receipts: vec![Receipt::default(); count],
            open: count,
            done,
        }
    }

    /// Stores a receipt. Returns whether it was the last one.
    pub(super) fn put(&mut self, index: usize, receipt: Receipt) -> bool {
        if let Some(place) = self.receipts.get_mut(index) {
            *place = receipt;
            self.open -= 1;
        }
        self.open == 0
    }

    pub(super) fn finish(self) {
        // Fails if the caller has stopped waiting.
        let _ = self.done.send(self.receipts);
    }
}
