//! Counts a node's reloads and certificate orders, and stores when its certificates end.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fanfare_core::{locked, timestamp};

/// A certificate that ends so soon is reported: it should have been renewed long before.
pub(crate) const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The counts, shared by all listeners.
#[derive(Default)]
pub struct Upkeep {
    pub(crate) reloads: Outcomes,
    /// The orders of certificates.
    pub(crate) orders: Outcomes,
    /// The end of each listener's certificate, by the listener's address; `None` if it has none yet.
    certificates: Mutex<BTreeMap<String, Option<SystemTime>>>,
}

#[derive(Default)]
pub(crate) struct Outcomes {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last_success: AtomicU64,
    last_failed: AtomicBool,
}

impl Outcomes {
    pub(crate) fn note(&self, succeeded: bool) {
        self.last_failed.store(!succeeded, Relaxed);
        if succeeded {
            self.succeeded.fetch_add(1, Relaxed);
            self.last_success.store(seconds(SystemTime::now()), Relaxed);
        } else {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    /// Returns the counts of successes and failures under these names.
    pub(crate) fn named(&self, [succeeded, failed]: [&'static str; 2]) -> [(&'static str, u64); 2] {
        [
            (succeeded, self.succeeded.load(Relaxed)),
            (failed, self.failed.load(Relaxed)),
        ]
    }

    /// Returns when it last succeeded, in seconds since 1970; 0 before the first time.
    pub(crate) fn last_success(&self) -> u64 {
        self.last_success.load(Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.last_failed.load(Relaxed)
    }
}

impl Upkeep {
    /// Notes when the certificate of the listener at `address` ends, `None` if it has none yet, and warns if that is soon.
    pub(crate) fn note_certificate(&self, address: &str, end: Option<SystemTime>) {
        if let Some(end) = end.filter(|end| *end < SystemTime::now() + ENDS_SOON) {
            tracing::warn!(listener = address, end = %timestamp(end), "the certificate ends soon, or has ended");
        }
        locked(&self.certificates).insert(address.to_owned(), end);
    }

    /// Returns when each listener's certificate ends, in seconds since 1970; `None` if it has none yet.
    pub(crate) fn certificate_ends(&self) -> Vec<(String, Option<u64>)> {
        let certificates = locked(&self.certificates);
        let end = |(address, end): (&String, &Option<SystemTime>)| (address.clone(), end.map(seconds));
        certificates.iter().map(end).collect()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
