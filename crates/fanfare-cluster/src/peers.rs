//! The other nodes, and whether each of them receives. While one does not, it may miss what is published, and receipts are
//! degraded.
//!
//! A node reports to all others when its subscriptions are in force and when it has lost them. After an outage of the server no
//! node knows about the others: each counts as missing until it reports, or for [`PATIENCE`] if it has gone for good.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ahash::AHashMap;

/// How long a node that has lost its connection is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two reports of a node that goes on receiving.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How long a node that does not report is remembered as receiving: it has ended without a report.
const MEMORY: Duration = Duration::from_secs(100);

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Peers {
    others: Mutex<AHashMap<Box<str>, Report>>,
    /// Whether this node receives.
    receives: AtomicBool,
}

/// The last that is known of a node.
#[derive(Debug, Clone, Copy)]
struct Report {
    receives: bool,
    since: Instant,
}

impl Peers {
    /// `node` reported whether it receives.
    pub(crate) fn reported(&self, node: Box<str>, receives: bool) {
        let since = Instant::now();
        self.lock().insert(node, Report { receives, since });
    }

    /// This node has lost its own receiving connection: reports do not arrive any more.
    pub(crate) fn lost(&self) {
        self.receives.store(false, Ordering::Relaxed);
        for report in self.lock().values_mut() {
            report.receives = false;
        }
    }

    /// This node's subscriptions are in force: from now on the missing nodes can report.
    pub(crate) fn connected(&self) {
        self.receives.store(true, Ordering::Relaxed);
        for report in self.lock().values_mut() {
            report.since = Instant::now();
        }
    }

    /// Whether this node's subscriptions are in force.
    pub(crate) fn receives(&self) -> bool {
        self.receives.load(Ordering::Relaxed)
    }

    /// Whether a node may miss what is published now. Forgets the nodes that have gone for good.
    pub(crate) fn any_missing(&self) -> bool {
        let mut others = self.lock();
        if self.receives() {
            others.retain(|_, report| {
                let memory = if report.receives { MEMORY } else { PATIENCE };
                report.since.elapsed() < memory
            });
        }
        others.values().any(|report| !report.receives)
    }

    fn lock(&self) -> MutexGuard<'_, AHashMap<Box<str>, Report>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_missing_until_it_reports() {
        let peers = Peers::default();
        assert!(!peers.any_missing() && !peers.receives());
        peers.connected();
        peers.reported("a".into(), true);
        peers.reported("b".into(), true);
        assert!(!peers.any_missing() && peers.receives());
        peers.reported("b".into(), false);
        assert!(peers.any_missing());
        peers.reported("b".into(), true);
        assert!(!peers.any_missing());

        // After an outage each has to report again.
        peers.lost();
        assert!(peers.any_missing() && !peers.receives());
        peers.connected();
        peers.reported("a".into(), true);
        assert!(peers.any_missing());
        peers.reported("b".into(), true);
        assert!(!peers.any_missing());
    }

    #[test]
    fn a_node_that_has_gone_for_good_is_forgotten_once_it_could_have_reported() {
        let peers = Peers::default();
        peers.connected();
        let ages = [
            (true, MEMORY, false),
            (true, PATIENCE, false),
            (false, PATIENCE, false),
        ];
        for (receives, age, missing) in ages {
            let Some(since) = Instant::now().checked_sub(age) else {
                return;
            };
            peers.lock().insert("a".into(), Report { receives, since });
            assert_eq!(peers.any_missing(), missing);
            let is_known = receives && age < MEMORY;
            assert_eq!(peers.lock().len(), usize::from(is_known), "{receives} {age:?}");
        }
        // An outage may take longer than that.
        peers.reported("a".into(), true);
        peers.lost();
        if let Some(since) = Instant::now().checked_sub(MEMORY) {
            peers.lock().insert(
                "a".into(),
                Report {
                    receives: false,
                    since,
                },
            );
            assert!(peers.any_missing());
            peers.connected();
            assert!(peers.any_missing());
        }
    }
}
