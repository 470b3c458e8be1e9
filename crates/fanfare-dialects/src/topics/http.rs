//! The body of a failed request: `{"success":false,"error"}`.

use fanfare_core::{HttpError, HttpReply, Respond};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::Topics;
use crate::describe;

impl Respond for Topics {
    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        reply(error.status, error.message)
    }
}

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(components(schemas(FailedError<'static>)))]
pub(super) struct Api;

/// An error, in the form of the routes of accounts and messages.
#[derive(Serialize, ToSchema)]
pub(super) struct FailedError<'a> {
    #[schema(schema_with = describe::no)]
    success: bool,
    error: &'a str,
}

pub(super) fn reply(status: u16, error: &str) -> HttpReply {
    let success = false;
    HttpReply::json(status, &FailedError { success, error })
}
