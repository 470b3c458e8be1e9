//! The body of a failed request: `{"success":false,"error"}`.

use fanfare_core::{HttpReply, Rejection};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::describe;

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(components(schemas(FailedError<'static>)))]
pub(super) struct Api;

/// An error, as the routes of accounts and messages have it.
#[derive(Serialize, ToSchema)]
pub(super) struct FailedError<'a> {
    #[schema(schema_with = describe::no)]
    success: bool,
    error: &'a str,
}

/// Returns the reply to a failed request.
pub(super) fn reply(status: u16, error: &str) -> HttpReply {
    let success = false;
    HttpReply::json(status, &FailedError { success, error })
}

/// Returns the reply to a refused upgrade.
pub(super) fn refuse(status: u16, error: &str) -> Rejection {
    let reply = reply(status, error);
    Rejection::http(reply.status, reply.body)
}
