//! One publication, and the batch that it belongs to.

use fanfare_core::{Audience, Event, Reach, Receipt, history::Position};
use tokio::sync::oneshot;

use crate::transport::Accepted;

/// One publication.
pub(super) struct OpenPublication {
    /// Kept until the event, or its echo, is in the delivery queue.
    event: Option<Event>,
    pub(super) here: Here,
    /// The subscription by which its echo should arrive may not be in force.
    pub(super) is_uncertain: bool,
    /// Where it is kept.
    pub(super) position: Option<Position>,
    /// Its echo did not arrive when it should have, and whether it is kept is not known yet.
    pub(super) is_overdue: bool,
    pub(super) listeners: Listeners,
    /// How many of them have replied; this node's echo counts as a reply.
    pub(super) replies: u32,
    /// Replies are not waited for, or not any more.
    pub(super) given_up: bool,
    reach: Reach,
    nodes: u32,
    /// Why the receipt is degraded, if it is.
    pub(super) cause: Option<Cause>,
    /// The batch, and the place in it.
    pub(super) batch: (u64, usize),
}

/// A publication of this node that is kept, and whose echo stays out.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) audience: Audience,
    pub(crate) position: Position,
}

/// What the transport reports of a publication.
pub(crate) struct SendReport {
    pub(super) number: u64,
    pub(super) listeners: Listeners,
    /// Where it is kept.
    pub(super) position: Option<Position>,
    /// Its id, if it has one, is shared with the other nodes.
    pub(super) is_id_shared: bool,
    /// A node may not have received it.
    pub(super) is_node_missing: bool,
}

impl SendReport {
    /// Of publication `number`; `None` if the transport did not carry it.
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

/// How many listeners a publication went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listeners {
    /// It is not published yet, or perhaps not at all.
    Unpublished,
    /// The transport does not know.
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
    /// Its id is shared with no other node.
    IdsNotShared,
    /// Replies stayed out.
    TimedOut,
}

impl Cause {
    /// How metrics name them.
    pub(super) const NAMES: [&'static str; 4] =
        ["broker_away", "node_missing", "ids_not_shared", "timed_out"];
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

    /// Whether it is to be kept, and not in the delivery queue yet.
    pub(super) fn wants_place(&self) -> bool {
        let event = self.event.as_ref();
        event.is_some_and(|event| event.history.wanted().is_some())
    }

    /// The event, at the one time that it goes into the delivery queue.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        let event = self.event.take()?;
        self.here = Here::Queued;
        Some(event)
    }

    /// One node delivered it.
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

    /// Whether its receipt is complete.
    pub(super) fn is_complete(&self) -> bool {
        let here = matches!(self.here, Here::Unwanted | Here::Done);
        here && self.listeners != Listeners::Unpublished && !self.awaits_replies()
    }

    /// Whether it is published, or about to be, and replies of other nodes are waited for.
    pub(super) fn awaits_replies(&self) -> bool {
        let all_replied =
            matches!(self.listeners, Listeners::Counted(listeners) if self.replies >= listeners);
        !self.given_up && !all_replied
    }
}

/// The publications of one call, whose receipts are handed out together.
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
