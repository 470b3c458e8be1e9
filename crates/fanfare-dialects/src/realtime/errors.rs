//! The body of a failed request: `{"error":{"code","message","details"}}`.

use fanfare_core::{HttpError, HttpReply, JsonMap};
use serde::Serialize;
use utoipa::ToSchema;

/// An error with a stable code for programs and a message for people.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiError<'a> {
    #[schema(inline)]
    error: Coded<'a>,
}

/// The cause of an error.
#[derive(Serialize, ToSchema)]
struct Coded<'a> {
    /// For programs.
    code: &'a str,
    /// For people.
    message: &'a str,
    #[schema(value_type = Object)]
    details: JsonMap,
}

pub(super) fn fail(error: &HttpError<'_>) -> HttpReply {
    let code = match error.status {
        401 => "INVALID_TOKEN",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        429 => "RATE_LIMITED",
        503 => "SERVER_FULL",
        500.. => "INTERNAL_ERROR",
        _ => "INVALID_REQUEST",
    };
    reply(error.status, code, error.message, JsonMap::new())
}

pub(super) fn reply(status: u16, code: &str, message: &str, details: JsonMap) -> HttpReply {
    let error = Coded {
        code,
        message,
        details,
    };
    HttpReply::json(status, &ApiError { error })
}
