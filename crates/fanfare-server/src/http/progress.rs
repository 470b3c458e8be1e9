//! Counts requests in progress, for which a drain waits.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use fanfare_engine::Node;

/// A request whose handler runs, or whose response is not written yet.
pub(super) struct InProgress(Arc<Node>);

impl InProgress {
    pub(super) fn new(node: &Arc<Node>) -> Self {
        node.counters.requests_in_progress.fetch_add(1, Relaxed);
        Self(node.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.counters.requests_in_progress.fetch_sub(1, Relaxed);
    }
}
