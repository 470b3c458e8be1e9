//! `POST /api/v1/reload`: has the one task that reloads read the configuration again, or only compare it, and returns the outcome.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{ApiError, ApiFailure, Reply, RouteCall, query::Query, reply, unavailable};

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

/// Reloads the configuration: all settings that can change without a restart, or none if the file has an error.
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    operation_id = "reload",
    params((
        "dry_run" = Option<bool>, Query,
        description = "`true` changes nothing, and returns what a reload would change.",
    )),
    responses(
        (status = 200, description = "What changed.", body = inline(ReloadReport)),
        (
            status = 422,
            description = "The configuration is invalid; nothing changed. `details.problems` lists each error with its place.",
            body = ApiError<'static>,
        ),
    ),
)]
pub(in crate::http) async fn start(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let mode = match Query::read(call.query(), &["dry_run"])?.get("dry_run") {
        None | Some("false") => ReloadMode::Apply,
        Some("true") => ReloadMode::DryRun,
        Some(_) => return Err("dry_run must be true or false".into()),
    };
    let outcome = call.site.options.reload.reload(mode).await;
    let report = outcome
        .ok_or_else(|| unavailable("the server cannot reload at the moment"))?
        .map_err(|problems| {
            let details = Map::from_iter([("problems".to_owned(), problems.into())]);
            let message = "the configuration cannot be used; nothing is changed";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            reply::coded(status, "INVALID_CONFIGURATION", message, details)
        })?;
    if mode == ReloadMode::Apply {
        call.audit.changed("reloaded the configuration");
    }
    Ok(reply::ok(&report))
}
