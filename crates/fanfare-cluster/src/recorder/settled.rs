//! Whether everything is settled that backends published before this node began to receive: recorded, or known to be lost. Until then
//! this node recovers no cursor.
//!
//! A recorder that died has recorded nothing of the last ticks. Its standby records the rest; if there is none, the next recorder raises the
//! journal's floor. Both take as long as the dead one's lease.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use fanfare_core::journal::ReplayFrom;
use tokio::sync::{Mutex, watch};

use super::{HeldBack, Recorder, feed::PACE};
use crate::{
    status::Side,
    transport::{Failed, recorder::TickRequest},
};

/// How long a replay waits: a lease that ends, another node's first tick and its next request are six ticks, which take 0.9 seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Settling {
    /// Counts the times from which on this node receives everything; `None` while the receiving connection is not in force.
    since: watch::Sender<Option<u64>>,
    last: AtomicU64,
    /// The one before which everything is settled.
    settled: AtomicU64,
    /// See [`Ticked::is_used`](crate::transport::recorder::Ticked::is_used).
    pub(super) is_used: AtomicBool,
    /// One replay at a time asks the store.
    turn: Mutex<()>,
}

impl Settling {
    /// What is published from now on is received, or recorded.
    pub(super) fn begin(&self) {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        self.since.send_replace(Some(number));
    }

    pub(super) fn lost(&self) {
        self.since.send_replace(None);
    }

    /// The lease is vacant: what is published until another node has it is recorded by none.
    pub(super) fn vacant(&self) {
        if self.since.borrow().is_some() {
            self.begin();
        }
    }
}

impl Recorder {
    /// All subscriptions of the receiving connection are in force.
    pub(crate) fn in_force(&self) {
        self.settling.begin();
    }

    /// Waits, for a while, until everything is settled that was published before now and that this node has not received. Returns `false` if it
    /// is not: then no cursor is recovered.
    pub(crate) async fn settled(&self, from: ReplayFrom) -> bool {
        if from.since().is_none() || !self.is_needed || !self.node.inbound.keeps_history() {
            return true;
        }
        self.held().asked_at = Some(Instant::now());
        let status = &self.node.status;
        if !status.is_up(Side::Receiving) && status.renewal().is_none() {
            return false; // nothing answers for longer than a client waits
        }
        let settled = tokio::time::timeout(SETTLED_WITHIN, self.settle()).await;
        settled.unwrap_or(false)
    }

    async fn settle(&self) -> bool {
        let mut changes = self.settling.since.subscribe();
        let Ok(since) = changes.wait_for(Option::is_some).await.map(|since| *since) else {
            return false; // the broker was dropped
        };
        let is_settled = || since == Some(self.settling.settled.load(Relaxed));
        if let Some(vacant_since) = self.held().vacant_since
            && vacant_since.elapsed() > SETTLED_WITHIN
        {
            return !self.settling.is_used.load(Relaxed);
        }
        if is_settled() {
            return true;
        }
        let _turn = self.settling.turn.lock().await;
        if !is_settled() {
            if self.wait_for_store().await.is_err() {
                return false;
            }
            self.settling.settled.store(since.unwrap_or_default(), Relaxed);
        }
        true
    }

    /// Waits until everything that arrived before the next tick is settled.
    async fn wait_for_store(&self) -> Result<(), Failed> {
        let mut next = None;
        loop {
            let ticked = self.tick(TickRequest::default()).await?;
            let next = *next.get_or_insert(ticked.tick + 1);
            // Unless it is used, to wait shows nothing: the floor would not be raised, and what a standby records arrives.
            if !ticked.is_used || ticked.settled >= next {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Whether a client was given what it missed so lately that something may have been missing which no node records any more.
    pub(crate) fn has_replayed_lately(&self) -> bool {
        self.held().has_replayed_lately()
    }
}

impl HeldBack {
    /// See [`Recorder::has_replayed_lately`].
    pub(super) fn has_replayed_lately(&self) -> bool {
        self.asked_at.is_some_and(|at| at.elapsed() < SETTLED_WITHIN)
    }
}
