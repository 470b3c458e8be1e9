//! The body of a failed request in the form of the service API: `{"error":{"code","message","details"}}`.

use fanfare_core::{HttpReply, JsonMap};
use serde::Serialize;
use utoipa::ToSchema;

/// An error with a stable code for programs and a message for people.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiError<'a> {
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

pub(crate) fn reply(status: u16, code: &str, message: &str, details: JsonMap) -> HttpReply {
    let error = Coded {
        code,
        message,
        details,
    };
    HttpReply::json(status, &ApiError { error })
}
