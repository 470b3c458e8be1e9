//! Tells the log, once for each change, whether Redis is there.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::wire::Rejected;

/// At most one line of a kind in this time.
const QUIET: Duration = Duration::from_secs(10);

/// One of the two connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Publishing = 0,
    Listening = 1,
}

/// Whether each connection is there, and what was last wrong.
pub(super) struct Status {
    /// The server's host and port.
    place: String,
    connections: Mutex<Inner>,
    rejected: Mutex<Seldom>,
    refused: Mutex<Seldom>,
    ids_refused: Mutex<Seldom>,
    untold: Mutex<Seldom>,
}

#[derive(Default)]
struct Inner {
    up: [bool; 2],
    error: String,
    /// What the log was told last; at first nothing.
    told: Option<bool>,
}

impl Status {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            connections: Mutex::default(),
            rejected: Mutex::default(),
            refused: Mutex::default(),
            ids_refused: Mutex::default(),
            untold: Mutex::default(),
        }
    }

    /// `side` is connected and in use.
    pub(super) fn up(&self, side: Side) {
        let mut inner = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        inner.up[side as usize] = true;
        if inner.up == [true, true] && inner.told.replace(true) != Some(true) {
            tracing::info!(address = self.place, "Redis is connected");
        }
    }

    /// `side` was lost, or could not be connected.
    pub(super) fn down(&self, side: Side, error: String) {
        let mut inner = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        inner.up[side as usize] = false;
        if inner.told.replace(false) != Some(false) {
            tracing::warn!(
                address = self.place,
                error,
                "Redis is away; only this node's connections are served until it is back"
            );
        }
        inner.error = error;
    }

    /// What was last wrong.
    pub(super) fn error(&self) -> String {
        let inner = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.error.is_empty() {
            "not connected yet".to_owned()
        } else {
            inner.error.clone()
        }
    }

    /// A message was dropped because it is not of the documented form.
    pub(super) fn rejected(&self, reason: Rejected) {
        if let Some(count) = Seldom::pass(&self.rejected) {
            tracing::warn!(%reason, count, "dropped what was published on Redis");
        }
    }

    /// Redis refused to publish events.
    pub(super) fn refused(&self, error: &str) {
        if let Some(count) = Seldom::pass(&self.refused) {
            tracing::warn!(
                address = self.place,
                error,
                count,
                "Redis refused publications; only this node's connections got them"
            );
        }
    }

    /// Redis refused to store or to look up ids of events.
    pub(super) fn ids_refused(&self, error: &str) {
        if let Some(count) = Seldom::pass(&self.ids_refused) {
            tracing::warn!(
                address = self.place,
                error,
                count,
                "Redis refused ids of events; the events reach all nodes, but the ids are shared with no other node"
            );
        }
    }

    /// Redis refused a notice, which is published again.
    pub(super) fn notice_refused(&self, error: &str) {
        if let Some(count) = Seldom::pass(&self.refused) {
            tracing::warn!(
                address = self.place,
                error,
                count,
                "Redis refused a notice between nodes; it is published again"
            );
        }
    }

    /// A notice was dropped that other nodes should have heard.
    pub(super) fn untold(&self) {
        if let Some(count) = Seldom::pass(&self.untold) {
            tracing::warn!(
                count,
                "other nodes will not hear notices: there were too many, or one was too large"
            );
        }
    }
}

/// Lets a log line pass now and then, with the number of times since the last one.
#[derive(Default)]
struct Seldom {
    last: Option<Instant>,
    count: u64,
}

impl Seldom {
    fn pass(this: &Mutex<Self>) -> Option<u64> {
        let mut this = this.lock().unwrap_or_else(PoisonError::into_inner);
        this.count += 1;
        if this.last.is_some_and(|last| last.elapsed() < QUIET) {
            return None;
        }
        this.last = Some(Instant::now());
        Some(std::mem::take(&mut this.count))
    }
}
