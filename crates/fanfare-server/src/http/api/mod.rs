//! The API for services, `/api/v1`. A file for each resource; errors have one form: a stable code for programs, a
//! message for people.

pub(super) mod channels;
pub(super) mod connections;
pub(super) mod events;
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

/// This API's part of what describes the server.
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
        connections::end,
        channels::list,
        members::list
    )
)]
pub(super) struct Api;

/// What each of these routes may answer in place of what was asked for.
struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut told = challenging(refusals::<ApiError<'_>>(&[
            (400, "Something in the request is not as it must be."),
            (401, "No API key, and no admin's token."),
            (403, "The API key does not have the scope that is needed."),
            (429, "Too many requests."),
            (
                503,
                "The server is starting or stopping, or no API key was sent and the database is away since the start.",
            ),
        ]));
        if let Some(RefOr::T(unauthorized)) = told.get_mut("401")
            && let Some(content) = unauthorized.content.get_mut(reply::JSON)
        {
            let error =
                json!({ "code": "INVALID_TOKEN", "message": "an API key is required", "details": {} });
            content.example = Some(json!({ "error": error }));
        }
        told
    }
}

/// What an answer says of itself if not every node has had a part in it, or the broker was away.
fn degraded(complete: bool) -> Option<Always<true>> {
    (!complete).then_some(Always)
}

fn invalid(message: &str) -> Reply {
    api_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
}
