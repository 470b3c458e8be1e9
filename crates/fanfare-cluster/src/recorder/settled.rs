//! The plain publications from before this node began to receive: this node recovers no cursor until they are settled, that is recorded or known
//! to be lost.
//!
//! A recorder that died has recorded nothing of the last ticks. Its standby records the rest. Without a standby, the next recorder raises the
//! journal's floor. Both happen only after the dead node's lease has expired.

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

/// The longest wait of a replay. The end of a lease, the first tick of another node and its next request are six ticks, which take 0.9 seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Settling {
    /// The number of the present period, in which this node receives every publication; `None` while it does not receive.
    period: watch::Sender<Option<u64>>,
    last: AtomicU64,
    /// The period before which everything is settled.
    settled: AtomicU64,
    /// See [`Ticked::is_used`](crate::transport::recorder::Ticked::is_used).
    pub(super) is_used: AtomicBool,
    /// Held by the replay that asks the store.
    asking: Mutex<()>,
}

impl Settling {
    /// Begins a period: publications from now on are received, or recorded.
    pub(super) fn begin(&self) {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        self.period.send_replace(Some(number));
    }

    pub(super) fn end(&self) {
        self.period.send_replace(None);
    }

    /// Begins another period because the lease is vacant: no node records publications until one acquires it.
    pub(super) fn vacant(&self) {
        if self.period.borrow().is_some() {
            self.begin();
        }
    }
}

impl Recorder {
    /// Notes that all subscriptions of the receiving connection are in force.
    pub(crate) fn in_force(&self) {
        self.settling.begin();
    }

    /// Waits until all earlier publications are settled that this node has not received. Returns `false` if they are not settled within
    /// [`SETTLED_WITHIN`]: then no cursor is recovered.
    pub(crate) async fn settled(&self, from: ReplayFrom) -> bool {
        if from.since().is_none() || !self.is_needed || !self.node.inbound.keeps_history() {
            return true;
        }
        self.held().replayed_at = Some(Instant::now());
        let status = &self.node.status;
        if !status.is_up(Side::Receiving) && status.renewal().is_none() {
            return false; // the outage lasts longer than a client waits
        }
        let settled = tokio::time::timeout(SETTLED_WITHIN, self.settle()).await;
        settled.unwrap_or(false)
    }

    async fn settle(&self) -> bool {
        let mut changes = self.settling.period.subscribe();
        let Ok(period) = changes.wait_for(Option::is_some).await.map(|period| *period) else {
            return false; // the broker was dropped
        };
        let is_settled = || period == Some(self.settling.settled.load(Relaxed));
        if let Some(vacant_since) = self.held().vacant_since
            && vacant_since.elapsed() > SETTLED_WITHIN
        {
            return !self.settling.is_used.load(Relaxed);
        }
        if is_settled() {
            return true;
        }
        let _asking = self.settling.asking.lock().await;
        if !is_settled() {
            if self.wait_for_store().await.is_err() {
                return false;
            }
            self.settling.settled.store(period.unwrap_or_default(), Relaxed);
        }
        true
    }

    /// Waits until everything that arrived before the next tick is settled.
    async fn wait_for_store(&self) -> Result<(), Failed> {
        let mut next = None;
        loop {
            let ticked = self.tick(TickRequest::default()).await?;
            let next = *next.get_or_insert(ticked.tick + 1);
            // If it is not used, waiting does not help: no floor is raised, and the copies that a standby publishes arrive.
            if !ticked.is_used || ticked.settled >= next {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Returns whether the last replay was so recent that a publication may have been missing from it which is never recorded.
    pub(crate) fn has_replayed_lately(&self) -> bool {
        self.held().has_replayed_lately()
    }
}

impl HeldBack {
    /// See [`Recorder::has_replayed_lately`].
    pub(super) fn has_replayed_lately(&self) -> bool {
        self.replayed_at.is_some_and(|at| at.elapsed() < SETTLED_WITHIN)
    }
}
