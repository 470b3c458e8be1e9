//! The body of a failed request: `{"error":{"id","message","category","timestamp"}}`.

use fanfare_core::{HttpError, HttpReply, timestamp};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// An error in the form of this protocol.
#[derive(Serialize, ToSchema)]
pub(super) struct BroadcastError<'a> {
    #[schema(inline)]
    error: ErrorBody<'a>,
}

/// The refusals of both routes, besides that of the API key's scope.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "described here, and written by `reply`")]
pub(super) enum RouteRefusals {
    #[response(
        status = 401,
        description = "The API key or the admin's token is missing or invalid.",
        headers(("WWW-Authenticate" = String)),
    )]
    Credential(BroadcastError<'static>),
    #[response(status = 408, description = "The body did not arrive in time.")]
    Late(BroadcastError<'static>),
    #[response(status = 413, description = "The body is too large.")]
    Large(BroadcastError<'static>),
    #[response(
        status = 429,
        description = "Too many requests.",
        headers(("Retry-After" = u64, description = "After how many seconds to repeat the request.")),
    )]
    TooMany(BroadcastError<'static>),
    #[response(
        status = 503,
        description = "The server is stopping; or the caller sent no API key, and the database has been unavailable since the start.",
        headers(("Retry-After" = Option<u64>, description = "After how many seconds to repeat the request.")),
    )]
    Unavailable(BroadcastError<'static>),
}

/// The problem.
#[derive(Serialize, ToSchema)]
struct ErrorBody<'a> {
    /// An id of this failure, to refer to it.
    id: String,
    message: &'a str,
    #[schema(inline)]
    category: Category,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Category {
    /// The request is malformed.
    Validation,
    /// The request is well-formed and refused.
    Application,
    /// The connection is at fault: a timeout or a limit.
    Connection,
    /// The server is at fault.
    System,
}

pub(super) fn reply(error: &HttpError<'_>) -> HttpReply {
    let body = ErrorBody {
        // The end of an id is random; its beginning is the time.
        id: format!("error_{:08x}", error.id.as_u128() & 0xffff_ffff),
        message: error.message,
        category: category(error.status),
        timestamp: timestamp(error.now).to_string(),
    };
    HttpReply::json(error.status, &BroadcastError { error: body })
}

fn category(status: u16) -> Category {
    match status {
        401 | 403 | 404 | 405 | 409 => Category::Application,
        408 | 429 => Category::Connection,
        500.. => Category::System,
        _ => Category::Validation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_category() {
        for (status, expected) in [
            (400, Category::Validation),
            (401, Category::Application),
            (403, Category::Application),
            (404, Category::Application),
            (405, Category::Application),
            (408, Category::Connection),
            (409, Category::Application),
            (413, Category::Validation),
            (422, Category::Validation),
            (429, Category::Connection),
            (500, Category::System),
            (503, Category::System),
        ] {
            assert_eq!(category(status), expected, "{status}");
        }
    }
}
