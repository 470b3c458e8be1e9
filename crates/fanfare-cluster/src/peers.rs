//! The other nodes, and whether each of them receives. While one does not, it may miss what is published, and receipts are
//! degraded.
//!
//! A node tells all others when its subscriptions are in force and when it has lost them. After an outage of the server no
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

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Peers {
    /// By their names; for one that does not receive, since when.
    others: Mutex<AHashMap<Box<str>, Option<Instant>>>,
    /// Whether this node receives.
    receives: AtomicBool,
}

impl Peers {
    /// `node` reported whether it receives.
    pub(crate) fn reported(&self, node: Box<str>, receives: bool) {
        let missing_since = (!receives).then(Instant::now);
        self.lock().insert(node, missing_since);
    }

    /// This node has lost its own receiving connection: reports do not arrive any more.
    pub(crate) fn lost(&self) {
        self.receives.store(false, Ordering::Relaxed);
        self.lock()
            .values_mut()
            .for_each(|since| *since = Some(Instant::now()));
    }

    /// This node's subscriptions are in force: from now on the missing nodes can report.
    pub(crate) fn connected(&self) {
        self.receives.store(true, Ordering::Relaxed);
        let mut nodes = self.lock();
        let missing = nodes.values_mut().flatten();
        missing.for_each(|since| *since = Instant::now());
    }

    /// Whether this node's subscriptions are in force.
    pub(crate) fn receives(&self) -> bool {
        self.receives.load(Ordering::Relaxed)
    }

    /// Whether a node may miss what is published now. Forgets the nodes that have not come back.
    pub(crate) fn any_missing(&self) -> bool {
        let mut nodes = self.lock();
        nodes.retain(|_, since| since.is_none_or(|since| since.elapsed() < PATIENCE));
        nodes.values().any(Option::is_some)
    }

    fn lock(&self) -> MutexGuard<'_, AHashMap<Box<str>, Option<Instant>>> {
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
    fn a_node_that_has_gone_for_good_is_forgotten() {
        let peers = Peers::default();
        let long_ago = Instant::now().checked_sub(PATIENCE);
        peers.lock().insert("a".into(), long_ago);
        assert!(long_ago.is_none() || !peers.any_missing());
        assert!(long_ago.is_none() || peers.lock().is_empty());
    }
}
