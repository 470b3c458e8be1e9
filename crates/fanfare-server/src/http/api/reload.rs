//! `POST /api/v1/reload`: reloads the configuration, or only compares it, and returns the outcome.

use http::StatusCode;
use serde_json::Map;

use super::{ApiError, ApiFailure, Reply, RouteCall, query::Query, reply, unavailable};
use crate::http::{ReloadMode, ReloadReport};

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
        (status = 200, description = "The changes.", body = inline(ReloadReport)),
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
            reply::detailed_error(status, "INVALID_CONFIGURATION", message, details)
        })?;
    if mode == ReloadMode::Apply {
        call.audit.changed("reloaded the configuration");
    }
    Ok(reply::ok(&report))
}
