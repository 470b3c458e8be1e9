//! What a node does for itself while it serves: reloads of its configuration, and the certificates that it shows.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fanfare_core::timestamp;

/// Certificates are renewed long before: so close to its end, one is reported.
pub(crate) const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The counts, shared by all listeners.
#[derive(Default)]
pub struct Upkeep {
    reloads: Outcomes,
    orders: Outcomes,
    /// The end of each listener's certificate, by the listener's address; `None` if it has none yet.
    certificates: Mutex<BTreeMap<String, Option<SystemTime>>>,
}

/// How often something succeeded and failed.
#[derive(Default)]
struct Outcomes {
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Seconds since 1970; zero before the first success.
    last_success: AtomicU64,
    last_failed: AtomicBool,
}

impl Outcomes {
    fn note(&self, succeeded: bool) {
        self.last_failed.store(!succeeded, Relaxed);
        if succeeded {
            self.succeeded.fetch_add(1, Relaxed);
            self.last_success.store(seconds(SystemTime::now()), Relaxed);
        } else {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    /// Returns the counts of successes and failures under these names.
    fn named(&self, [succeeded, failed]: [&'static str; 2]) -> [(&'static str, u64); 2] {
        [
            (succeeded, self.succeeded.load(Relaxed)),
            (failed, self.failed.load(Relaxed)),
        ]
    }
}

impl Upkeep {
    /// Counts a reload; `applied` is whether it is in force.
    pub(crate) fn note_reload(&self, applied: bool) {
        self.reloads.note(applied);
    }

    /// Counts an order of a certificate.
    pub(crate) fn note_order(&self, succeeded: bool) {
        self.orders.note(succeeded);
    }

    /// Notes when the certificate that the listener at `address` shows ends, and warns if that is soon.
    pub(crate) fn note_certificate(&self, address: &str, end: SystemTime) {
        if end < SystemTime::now() + ENDS_SOON {
            tracing::warn!(listener = address, end = %timestamp(end), "the certificate ends soon, or has ended");
        }
        self.certificates().insert(address.to_owned(), Some(end));
    }

    /// Notes that the listener at `address` has no certificate for its names.
    pub(crate) fn note_no_certificate(&self, address: &str) {
        self.certificates().insert(address.to_owned(), None);
    }

    /// How many reloads were applied and refused.
    pub(crate) fn reloads(&self) -> [(&'static str, u64); 2] {
        self.reloads.named(["applied", "refused"])
    }

    /// When a reload was last applied, in seconds since 1970; zero before the first.
    pub(crate) fn last_reload(&self) -> u64 {
        self.reloads.last_success.load(Relaxed)
    }

    /// Whether the last reload was applied; true before the first.
    pub(crate) fn last_reload_succeeded(&self) -> bool {
        !self.reloads.last_failed.load(Relaxed)
    }

    /// Whether the last order of a certificate succeeded; true before the first.
    pub(crate) fn last_order_succeeded(&self) -> bool {
        !self.orders.last_failed.load(Relaxed)
    }

    /// How many orders of certificates succeeded and failed.
    pub(crate) fn orders(&self) -> [(&'static str, u64); 2] {
        self.orders.named(["succeeded", "failed"])
    }

    /// When each listener's certificate ends, in seconds since 1970; `None` if it has none yet.
    pub(crate) fn certificate_ends(&self) -> Vec<(String, Option<u64>)> {
        let certificates = self.certificates();
        let ends = certificates.iter();
        ends.map(|(address, end)| (address.clone(), end.map(seconds)))
            .collect()
    }

    fn certificates(&self) -> MutexGuard<'_, BTreeMap<String, Option<SystemTime>>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
