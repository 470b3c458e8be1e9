//! The body of a failed request: `{"error":{"code","message","details"}}`.

use fanfare_core::{About, HttpError, HttpReply, JsonMap, Refusal, Rejection, fields};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// An error with a stable code for programs and a message for people.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiError<'a> {
    #[schema(inline)]
    error: Coded<'a>,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct Coded<'a> {
    /// For programs.
    code: &'a str,
    /// For people.
    message: &'a str,
    #[schema(value_type = Object)]
    details: JsonMap,
}

/// Returns the reply to a refused upgrade.
pub(super) fn refuse(refusal: Refusal, about: &About<'_>) -> Rejection {
    // `SERVER_FULL` stands for every 503, because clients retry later on it.
    let (status, code, message) = match refusal {
        Refusal::MissingCredential => (401, "INVALID_TOKEN", "Authentication token required"),
        Refusal::BadCredential => (401, "INVALID_TOKEN", "Invalid authentication token"),
        Refusal::ExpiredCredential => (401, "TOKEN_EXPIRED", "Authentication token expired"),
        Refusal::KeysUnavailable => (503, "SERVER_FULL", "Token cannot be verified at the moment"),
        Refusal::Forbidden => (403, "FORBIDDEN", "Insufficient permissions"),
        Refusal::BadName => (400, "INVALID_REQUEST", "Invalid name"),
        Refusal::NameTaken => (409, "INVALID_REQUEST", "Name taken"),
        Refusal::AtCapacity => (503, "SERVER_FULL", "Server at capacity"),
        Refusal::AddressAtCapacity => (429, "RATE_LIMITED", "Too many connections from this address"),
        Refusal::UserAtCapacity => (429, "RATE_LIMITED", "Too many connections of this user"),
        Refusal::RateLimited => (429, "RATE_LIMITED", "Too many requests"),
        Refusal::ShuttingDown => (503, "SERVER_FULL", "Server shutting down"),
    };
    let details = match refusal {
        Refusal::AtCapacity => fields(&json!({
            "active_connections": about.active,
            "max_connections": about.max_connections,
        })),
        _ => JsonMap::new(),
    };
    let reply = reply(status, code, message, details);
    Rejection::http(reply.status, reply.body)
}

/// Returns the reply to a failed request.
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

fn reply(status: u16, code: &str, message: &str, details: JsonMap) -> HttpReply {
    let error = Coded {
        code,
        message,
        details,
    };
    HttpReply::json(status, &ApiError { error })
}
