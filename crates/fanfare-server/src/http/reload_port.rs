//! How a handler reaches the one task that reloads: what is asked for, and what came of it.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// Callers that may wait for their turn; each reload takes some milliseconds.
const MAX_WAITING: usize = 16;

/// Whether a reload replaces anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// It does.
    Apply,
    /// It only finds out what it would do.
    DryRun,
}

/// What a reload did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReport {
    /// Whether the changes are in force; not after a dry run.
    pub applied: bool,
    /// The configuration file, as the server reads it.
    #[schema(nullable)]
    pub file: Option<String>,
    /// The keys that differ from what was in force and need no restart. For a file that a key names, its contents count.
    pub changed: Vec<String>,
    /// The keys that differ from those of the start and need a restart.
    pub needs_restart: Vec<String>,
    /// Warnings about settings that are valid but risky.
    pub warnings: Vec<String>,
}

/// A caller that waits for a reload.
pub struct ReloadRequest {
    /// Whether to replace anything.
    pub mode: ReloadMode,
    /// Takes the report, or each thing that is wrong with the configuration.
    pub reply: oneshot::Sender<Result<ReloadReport, Vec<String>>>,
}

/// The callers, in order.
pub type ReloadRequests = mpsc::Receiver<ReloadRequest>;

/// Passes callers on to the one task that reloads.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// A handle, and where its callers arrive.
    pub fn channel() -> (Self, ReloadRequests) {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        (Self(sender), requests)
    }

    /// The outcome; `None` if the server is ending or too many callers wait.
    pub(super) async fn reload(&self, mode: ReloadMode) -> Option<Result<ReloadReport, Vec<String>>> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(ReloadRequest { mode, reply }).ok()?;
        outcome.await.ok()
    }
}
