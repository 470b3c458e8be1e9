//! `POST /api/v1/reload`: the configuration is read again, or only compared, and the answer says what came of it.

use http::StatusCode;
use serde_json::Map;

use super::{
    super::{ReloadMode, ReloadReport, Site, audit, forms::ApiError, reply::coded},
    Reply, ServiceRefusals, api_error, invalid,
    query::Query,
    reply,
};

/// Reloads the configuration: all settings that can change without a restart, or none if the file has an error.
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    operation_id = "reload",
    tag = "Service API",
    params((
        "dry_run" = Option<bool>, Query,
        description = "`true` changes nothing, and returns what a reload would change.",
    )),
    responses(
        (status = 200, description = "What changed.", body = inline(ReloadReport)),
        ServiceRefusals,
        (
            status = 422,
            description = "The configuration is invalid; nothing changed. `details.problems` lists each error with its place.",
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
        Some(Ok(report)) => {
            let reply = reply::json(StatusCode::OK, &report);
            match mode {
                ReloadMode::Apply => audit::changed(reply, "reloaded the configuration".to_owned()),
                ReloadMode::DryRun => reply,
            }
        }
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
