//! This node's lease: when it is renewed, and what renewals found.
//!
//! It is renewed each second, also while the worker waits for the store: of the five seconds that it lives, a batch of changes may
//! take all.

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use fanfare_core::locked;
use tokio::time::Instant;

use crate::transport::{
    PresenceStore, Stored,
    presence::{Lease, LeaseId, Renewal},
};

/// Between two renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long the store may take for one call; a transport's own limit is shorter.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a renewal that the store refused, the next one waits.
const RETRY: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Term(Mutex<HeldLease>);

struct HeldLease {
    lease: Lease,
    /// When the last renewal that succeeded was sent, by this node's clock.
    renewed: Option<Instant>,
    /// When the next one is due.
    due: Instant,
    /// Nothing may be done before the lease was renewed.
    is_doubtful: bool,
    /// The leases that renewals found expired, and when.
    expired: Vec<(Vec<LeaseId>, Instant)>,
}

impl Term {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HeldLease::new()))
    }

    pub(super) fn lease(&self) -> Lease {
        self.held().lease
    }

    /// When the next renewal is due.
    pub(super) fn due(&self) -> Instant {
        self.held().due
    }

    /// Whether nothing may be done before the next renewal.
    pub(super) fn is_doubtful(&self) -> bool {
        self.held().is_doubtful
    }

    /// The store may not have the lease any more: the next renewal shows it.
    pub(super) fn doubt(&self) {
        let mut held = self.held();
        held.is_doubtful = true;
        held.due = Instant::now();
    }

    /// How long ago the lease was renewed; `None` if it never was.
    pub(super) fn age(&self) -> Option<Duration> {
        self.held().renewed.map(|at| at.elapsed())
    }

    /// Ends the lease and begins another one.
    pub(super) fn replace(&self) -> LeaseId {
        let mut held = self.held();
        *held = HeldLease {
            expired: std::mem::take(&mut held.expired),
            ..HeldLease::new()
        };
        held.lease.id
    }

    /// What renewals have found expired since the last call, and when.
    pub(super) fn take_expired(&self) -> Vec<(Vec<LeaseId>, Instant)> {
        std::mem::take(&mut self.held().expired)
    }

    /// Renews the lease, or takes it. If the store refuses or has lost it, [`Self::is_doubtful`].
    pub(super) async fn renew(&self, store: &dyn PresenceStore) -> Stored<Option<Renewal>> {
        let sent = Instant::now();
        let renewal = timed(store.renew(self.lease())).await;
        let mut held = self.held();
        held.is_doubtful = true;
        match &renewal.value {
            Some(Renewal::Renewed { until, expired }) => {
                held.is_doubtful = false;
                held.lease.until = *until;
                held.renewed = Some(sent);
                held.due = sent + RENEWAL;
                held.expired.push((expired.clone(), sent));
            }
            Some(Renewal::Gone { .. }) => held.due = Instant::now(),
            None => held.due = Instant::now() + RETRY,
        }
        renewal
    }

    /// Renews the lease whenever it is due, until a renewal does not succeed: that is left to the worker, which asks again.
    pub(super) async fn keep(&self, store: &dyn PresenceStore) -> Infallible {
        while !self.is_doubtful() {
            tokio::time::sleep_until(self.due()).await;
            if !matches!(self.renew(store).await.value, Some(Renewal::Renewed { .. })) {
                self.doubt();
            }
        }
        std::future::pending().await
    }

    fn held(&self) -> MutexGuard<'_, HeldLease> {
        locked(&self.0)
    }
}

impl HeldLease {
    fn new() -> Self {
        Self {
            lease: Lease {
                id: LeaseId(rand::random()),
                until: 0,
            },
            renewed: None,
            due: Instant::now(),
            is_doubtful: true,
            expired: Vec::new(),
        }
    }
}

/// What a call of the store returns; as lost if that takes too long.
pub(super) async fn timed<T: Default>(call: impl Future<Output = Stored<T>>) -> Stored<T> {
    let late = |_| Stored {
        lost: true,
        ..Stored::default()
    };
    tokio::time::timeout(STORE_TIMEOUT, call)
        .await
        .unwrap_or_else(late)
}
