//! The door's counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The door's counters. All except `connected` only grow.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Open connections.
    pub(super) connected: AtomicU64,
    /// Connections that were ever opened.
    pub(super) connections: AtomicU64,
    /// Commands carried out.
    pub(super) commands: AtomicU64,
    /// Messages received by `PUBLISH`, the malformed ones included.
    pub(super) publications: AtomicU64,
    /// Messages dropped because they were malformed.
    pub(super) rejected: AtomicU64,
    /// Passwords that were wrong.
    pub(super) failed_logins: AtomicU64,
}

impl Stats {
    /// Counts a connection until the returned guard is dropped.
    pub(super) fn connection(&self) -> Connected<'_> {
        self.connected.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
        Connected(self)
    }
}

/// A connection, counted until this is dropped.
pub(super) struct Connected<'a>(&'a Stats);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Relaxed);
    }
}
