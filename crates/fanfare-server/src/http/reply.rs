//! HTTP responses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_accounts::storage::time_of;
use fanfare_core::{HttpError, HttpReply, RawJson, timestamp};
use fanfare_engine::MountedDialect;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use super::{
    forms::{ApiError, Coded, PlainError},
    reply_body::ReplyBody,
};

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const STYLE: &str = "text/css; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";

/// The content security policy of an embedded page: only this server's scripts, styles, images and addresses, `ws:` included.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) type Reply = Response<ReplyBody>;

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Bodies are objects with string keys, and are written to memory, so this cannot fail.
    text(status, JSON, serde_json::to_vec(body).unwrap_or_default())
}

pub(super) fn ok(body: &impl Serialize) -> Reply {
    json(StatusCode::OK, body)
}

/// Returns a success without a body.
pub(super) fn no_content() -> Reply {
    text(StatusCode::NO_CONTENT, "", "")
}

/// Formats a time of the database, in milliseconds since 1970.
pub(super) fn time(millis: i64) -> String {
    timestamp(time_of(millis)).to_string()
}

/// Formats a time that a node reports, given since 1970.
pub(super) fn time_since_1970(since: Duration) -> String {
    timestamp(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)).to_string()
}

/// Returns `json` as a part of a body, unchanged.
pub(super) fn raw(json: &RawJson) -> Option<&RawValue> {
    serde_json::from_str(json.as_str()).ok()
}

/// Returns a response with this body and media type; an empty body has no type.
pub(super) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    let mut reply = Response::new(body.clone().into());
    *reply.status_mut() = status;
    if !body.is_empty() {
        reply = with(reply, header::CONTENT_TYPE, media_type);
    }
    // Metrics and receipts must not be cached.
    with(reply, header::CACHE_CONTROL, "no-store")
}

pub(super) fn with(mut reply: Reply, name: HeaderName, value: &'static str) -> Reply {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

/// Returns a file of an embedded page.
pub(super) fn embedded(media_type: &'static str, text: &'static str) -> Reply {
    let reply = self::text(StatusCode::OK, media_type, text);
    let reply = with(reply, header::CONTENT_SECURITY_POLICY, POLICY);
    let reply = with(reply, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    with(reply, header::REFERRER_POLICY, "no-referrer")
}

/// Disables the buffering of the body in nginx.
pub(super) fn unbuffered(reply: Reply) -> Reply {
    with(reply, HeaderName::from_static("x-accel-buffering"), "no")
}

/// Returns a permanent redirect to `address`, which is relative to the request's path.
pub(super) fn moved(address: &'static str) -> Reply {
    with(
        text(StatusCode::PERMANENT_REDIRECT, "", ""),
        header::LOCATION,
        address,
    )
}

/// Returns an error in the form of probes, pages and unknown paths.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    json(status, &PlainError { error: message })
}

/// Returns an error in the form of a dialect's routes.
pub(super) fn dialect_error(mounted: &MountedDialect, status: StatusCode, message: &str) -> Reply {
    let error = HttpError {
        status: status.as_u16(),
        message,
        id: Uuid::new_v4(),
        now: SystemTime::now(),
    };
    from_dialect(mounted.dialect.fail(&error))
}

/// Returns a dialect's reply.
pub(super) fn from_dialect(answer: HttpReply) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, JSON, answer.body.into_owned())
}

/// Adds `Allow` to `answer`.
pub(super) fn allow(mut answer: Reply, allowed: &[Method]) -> Reply {
    let names = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&names) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}

/// Adds `WWW-Authenticate` to `answer`.
pub(super) fn challenge(answer: Reply) -> Reply {
    with(answer, header::WWW_AUTHENTICATE, "Bearer")
}

/// Adds `Retry-After` to `answer`.
pub(super) fn retry_later(answer: Reply) -> Reply {
    with(answer, header::RETRY_AFTER, "5")
}

/// Returns an error of the service API without details.
pub(super) fn api_error(status: StatusCode, code: &str, message: &str) -> Reply {
    detailed_error(status, code, message, Map::new())
}

/// Returns an error of the service API: a stable code for programs, a message for people, and details.
pub(super) fn detailed_error(
    status: StatusCode,
    code: &str,
    message: &str,
    details: Map<String, Value>,
) -> Reply {
    let error = Coded {
        code,
        message,
        details,
    };
    json(status, &ApiError { error })
}
