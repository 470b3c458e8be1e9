//! This node's lease: the times of its renewals, and their results.
//!
//! The lease is renewed each second, also while the worker waits for the store. A batch of changes may take the five seconds that
//! the lease lives.

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

/// The interval between two renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(1);
/// The timeout of one call of the store; a transport's own limit is shorter.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a renewal that the store refused.
const RETRY: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Term(Mutex<HeldLease>);

struct HeldLease {
    lease: Lease,
    /// The time at which the last successful renewal was sent, by this node's clock.
    renewed: Option<Instant>,
    /// The time of the next renewal.
    due: Instant,
    /// The store may have lost the lease: nothing may be changed before the next renewal.
    is_suspect: bool,
    /// The leases that renewals reported as expired, with the time of each report.
    expired: Vec<(Vec<LeaseId>, Instant)>,
}

impl Term {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HeldLease::new()))
    }

    pub(super) fn lease(&self) -> Lease {
        self.held().lease
    }

    /// Returns the time of the next renewal.
    pub(super) fn due(&self) -> Instant {
        self.held().due
    }

    /// Returns `true` if nothing may be changed before the next renewal.
    pub(super) fn is_suspect(&self) -> bool {
        self.held().is_suspect
    }

    /// Makes a renewal due at once, because the store may have lost the lease.
    pub(super) fn suspect(&self) {
        let mut held = self.held();
        held.is_suspect = true;
        held.due = Instant::now();
    }

    /// Returns the time since the last renewal; `None` if there was none.
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

    /// Takes the reports of expired leases since the last call.
    pub(super) fn take_expired(&self) -> Vec<(Vec<LeaseId>, Instant)> {
        std::mem::take(&mut self.held().expired)
    }

    /// Renews the lease, or acquires it. If the store refuses or has lost it, the lease is [suspect](Self::is_suspect).
    pub(super) async fn renew(&self, store: &dyn PresenceStore) -> Stored<Option<Renewal>> {
        let sent = Instant::now();
        let renewal = timed(store.renew(self.lease())).await;
        let mut held = self.held();
        held.is_suspect = true;
        match &renewal.value {
            Some(Renewal::Renewed { until, expired }) => {
                held.is_suspect = false;
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

    /// Renews the lease whenever it is due, until a renewal fails. The worker then renews it again.
    pub(super) async fn keep(&self, store: &dyn PresenceStore) -> Infallible {
        while !self.is_suspect() {
            tokio::time::sleep_until(self.due()).await;
            if !matches!(self.renew(store).await.value, Some(Renewal::Renewed { .. })) {
                self.suspect();
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
            is_suspect: true,
            expired: Vec::new(),
        }
    }
}

/// Returns the result of `call`; after [`STORE_TIMEOUT`], a lost connection.
pub(super) async fn timed<T: Default>(call: impl Future<Output = Stored<T>>) -> Stored<T> {
    let late = |_| Stored {
        lost: true,
        ..Stored::default()
    };
    tokio::time::timeout(STORE_TIMEOUT, call)
        .await
        .unwrap_or_else(late)
}
