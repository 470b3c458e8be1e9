//! The door's counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The door's counters.
#[derive(Debug, Default)]
pub struct Stats {
    connected: AtomicU64,
    connections: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) publications: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) failed_logins: AtomicU64,
}

/// The counters' values at some moment. All but `connected` only ever grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections there are now.
    pub connected: u64,
    /// Connections there have been.
    pub connections: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Messages received by `PUBLISH`, the malformed ones included.
    pub publications: u64,
    /// Messages dropped because they were malformed.
    pub rejected: u64,
    /// Passwords that were wrong.
    pub failed_logins: u64,
}

impl Stats {
    /// The values now.
    pub fn totals(&self) -> Totals {
        Totals {
            connected: self.connected.load(Relaxed),
            connections: self.connections.load(Relaxed),
            commands: self.commands.load(Relaxed),
            publications: self.publications.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            failed_logins: self.failed_logins.load(Relaxed),
        }
    }

    /// Counts a connection for as long as the answer lives.
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
