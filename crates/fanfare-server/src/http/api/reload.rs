//! `POST /api/v1/reload`: the configuration is read again, or only compared, and the answer says what came of it.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{
    super::{Site, forms::ApiError, reply::coded},
    Refused, Reply, api_error, invalid,
    query::Query,
    reply,
};

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
    /// What is allowed, and doubtful.
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
    async fn reload(&self, mode: ReloadMode) -> Option<Result<ReloadReport, Vec<String>>> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(ReloadRequest { mode, reply }).ok()?;
        outcome.await.ok()
    }
}

/// Reads the configuration again, and replaces what can change without a restart: all of it, or nothing if there is an error.
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    operation_id = "reload",
    tag = "Service API",
    params((
        "dry_run" = Option<bool>, Query,
        description = "`true` replaces nothing, and returns what a reload would do.",
    )),
    responses(
        (status = 200, description = "What changed.", body = inline(ReloadReport)),
        Refused,
        (
            status = 422,
            description = "The configuration cannot be used; nothing changed. `details.problems` lists each error with its place.",
            body = ApiError<'static>,
        ),
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(in crate::http) async fn start(query: &str, site: &Site) -> Reply {
    let mode = match mode(query) {
        Ok(mode) => mode,
        Err(message) => return invalid(&message),
    };
    match site.options.reload.reload(mode).await {
        Some(Ok(report)) => reply::json(StatusCode::OK, &report),
        Some(Err(problems)) => {
            let details = Map::from_iter([("problems".to_owned(), problems.into())]);
            let message = "the configuration cannot be used; nothing is changed";
            coded(
                StatusCode::UNPROCESSABLE_ENTITY,
                "INVALID_CONFIGURATION",
                message,
                details,
            )
        }
        None => {
            let message = "the server cannot reload at the moment";
            reply::later(api_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message))
        }
    }
}

fn mode(query: &str) -> Result<ReloadMode, String> {
    match Query::read(query, &["dry_run"])?.get("dry_run") {
        None | Some("false") => Ok(ReloadMode::Apply),
        Some("true") => Ok(ReloadMode::DryRun),
        Some(_) => Err("dry_run must be true or false".to_owned()),
    }
}
