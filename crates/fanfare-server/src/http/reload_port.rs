//! Passes requests for a reload from handlers to the task that reloads.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// The most callers that may wait; each reload takes some milliseconds.
const MAX_WAITING: usize = 16;

/// The mode of a reload: with or without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// Applies the changes.
    Apply,
    /// Only reports the changes.
    DryRun,
}

/// The changes of a reload, or of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReport {
    /// Whether the changes are in force; not after a dry run.
    pub applied: bool,
    /// The configuration file, as the server reads it.
    #[schema(nullable)]
    pub file: Option<String>,
    /// The changed keys that need no restart. A key that names a file also counts as changed if the file's content is.
    pub changed: Vec<String>,
    /// The keys that have changed since the start, and take effect after a restart.
    pub needs_restart: Vec<String>,
    /// Warnings about settings that are valid but risky.
    pub warnings: Vec<String>,
}

/// A caller that waits for a reload.
pub struct ReloadRequest {
    /// With or without effect.
    pub mode: ReloadMode,
    /// Receives the report, or every error of the configuration.
    pub reply: oneshot::Sender<Result<ReloadReport, Vec<String>>>,
}

/// The requests, in order.
pub type ReloadRequests = mpsc::Receiver<ReloadRequest>;

/// Sends requests to the task that reloads.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// Returns a handle, and the receiver of its requests.
    pub fn channel() -> (Self, ReloadRequests) {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        (Self(sender), requests)
    }

    /// Reloads, and returns the outcome; `None` if the server is ending or too many callers wait.
    pub(super) async fn reload(&self, mode: ReloadMode) -> Option<Result<ReloadReport, Vec<String>>> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(ReloadRequest { mode, reply }).ok()?;
        outcome.await.ok()
    }
}
