//! The code of a refusal, and the route's description.

use fanfare_core::{HttpError, HttpReply, JsonMap, Respond};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::Stream;
use crate::api_error::{self, ApiError};

impl Respond for Stream {
    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        failed(error.status, error.message)
    }
}

pub(super) fn failed(status: u16, message: &str) -> HttpReply {
    let code = match status {
        400 => "INVALID_REQUEST",
        401 => "INVALID_TOKEN",
        403 => "FORBIDDEN",
        405 => "METHOD_NOT_ALLOWED",
        429 => "RATE_LIMITED",
        503 => "UNAVAILABLE",
        _ => "ERROR",
    };
    api_error::reply(status, code, message, JsonMap::new())
}

/// An event, as a line of JSON. In a server-sent event the cursor is the `id`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, and rendered without it")]
struct StreamedEvent<'a> {
    /// The channel; `notifications.user.{id}` for a user's events, `notifications` for those for everyone.
    channel: &'a str,
    /// Null for an event without a type.
    #[schema(required)]
    r#type: Option<&'a str>,
    data: Value,
    #[schema(required)]
    sender: Option<&'a str>,
    id: &'a str,
    #[schema(format = DateTime)]
    timestamp: &'a str,
    /// Only if the channel has history.
    #[schema(nullable = false)]
    cursor: Option<&'a str>,
}

/// Streams the events of channels, as server-sent events or as lines of JSON. The first message has the type `resume`
/// and shows whether the events since `since` follow. The last has the type `stream.end`. Ignore the comment or empty
/// line every 15 seconds.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    operation_id = "stream",
    tag = "Service API",
    params(
        ("channel" = Vec<String>, Query, description = "The channels, by name or by pattern; may be repeated.", example = json!(["board.kitchen"])),
        ("since" = Option<String>, Query, description = "A cursor: the stream begins with the events after it. Empty: only new events."),
        ("rewind" = Option<String>, Query, description = "Begin with the newest events: a number, or an age such as `5m`."),
        ("poll" = Option<String>, Query, description = "`1` to end after the kept events."),
        ("token" = Option<String>, Query, description = "A token or an API key, for a client that can send no header."),
        ("Accept" = Option<String>, Header, description = "`application/x-ndjson` for lines of JSON."),
        ("Last-Event-ID" = Option<String>, Header, description = "A cursor, which takes precedence over `since`."),
    ),
    responses(
        (status = 200, description = "Events, without an end.", content(
            ("text/event-stream"),
            (inline(StreamedEvent<'static>) = "application/x-ndjson"),
        )),
        (status = 400, description = "A channel is missing or invalid.", body = inline(ApiError<'static>)),
        (status = 401, description = "The token is invalid.", body = inline(ApiError<'static>)),
        (status = 403, description = "A channel is forbidden, or the page's origin.", body = inline(ApiError<'static>)),
        (status = 429, description = "Too many streams or attempts.", body = inline(ApiError<'static>)),
        (status = 503, description = "The server is full, starting or stopping.", body = inline(ApiError<'static>)),
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
#[allow(dead_code, reason = "the engine serves the route; this describes it")]
fn stream() {}

/// This dialect's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(stream))]
pub(super) struct Api;
