//! The API for services, `/api/v1`: a file for each resource. Errors have one form: a stable code for programs, and a
//! message for people.

pub(super) mod channels;
pub(super) mod connections;
pub(super) mod events;
pub(super) mod history;
pub(super) mod members;
pub(super) mod presence;
pub(super) mod query;
pub(super) mod reload;
pub(super) mod reset_token;

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{RefOr, Response},
};

use super::{
    forms::{Always, ApiError, challenging, refusals},
    reply::{self, Reply, api_error},
};

/// This API's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((
        name = "Service API",
        description = "For backends; on every listener. With no API key configured, callers on this machine need no \
                       credential.",
    )),
    paths(
        events::publish,
        presence::show,
        reset_token::create,
        reload::start,
        connections::list,
        connections::show,
        connections::end,
        channels::list,
        history::list,
        members::list
    )
)]
pub(super) struct ServiceApi;

/// The refusals of each of these routes.
pub(super) struct ServiceRefusals;

impl IntoResponses for ServiceRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = challenging(refusals::<ApiError<'_>>(&[
            (400, "The request is invalid; the message names the field."),
            (401, "The API key or the admin's token is missing or invalid."),
            (403, "The API key does not have the required scope."),
            (429, "Too many requests."),
            (
                503,
                "The server is starting or stopping; or the caller sent no API key, and the database has been unavailable since the start.",
            ),
        ]));
        if let Some(RefOr::T(unauthorized)) = responses.get_mut("401")
            && let Some(content) = unauthorized.content.get_mut(reply::JSON)
        {
            let message = "an API key with the scope read is required";
            let error = json!({ "code": "INVALID_TOKEN", "message": message, "details": {} });
            content.example = Some(json!({ "error": error }));
        }
        responses
    }
}

/// Returns the mark of an incomplete reply: a node has not answered, or the broker was unavailable.
pub(super) fn degraded(complete: bool) -> Option<Always<true>> {
    (!complete).then_some(Always)
}

pub(super) fn invalid(message: &str) -> Reply {
    api_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
}
