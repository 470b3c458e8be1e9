//! What went wrong, over HTTP: `{"success":false,"error"}`.

use fanfare_core::{HttpReply, Rejection};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::describe;

/// What is described of it.
#[derive(OpenApi)]
#[openapi(components(schemas(FailedError<'static>)))]
pub(super) struct Api;

/// An error in the form of the accounts' and the messages' routes.
#[derive(Serialize, ToSchema)]
pub(super) struct FailedError<'a> {
    #[schema(schema_with = describe::no)]
    success: bool,
    error: &'a str,
}

/// The answer to a request that failed.
pub(super) fn reply(status: u16, error: &str) -> HttpReply {
    let success = false;
    HttpReply::json(status, &FailedError { success, error })
}

/// A refused upgrade.
pub(super) fn refuse(status: u16, error: &str) -> Rejection {
    let reply = reply(status, error);
    Rejection::http(reply.status, reply.body)
}
