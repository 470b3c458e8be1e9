//! HTTP responses.

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{HttpError, HttpReply, RawJson};
use fanfare_engine::MountedDialect;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use super::{
    forms::{ApiError, Coded, PlainError},
    reply_body::ReplyBody,
};

pub(super) const JSON: &str = "application/json";

/// A response.
pub(super) type Reply = Response<ReplyBody>;

/// Returns a response with this JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Bodies are objects with string keys, and are written to memory, so this cannot fail.
    text(status, JSON, serde_json::to_vec(body).unwrap_or_default())
}

/// Returns JSON as a part of a body, as it is written.
pub(super) fn raw(json: &RawJson) -> Option<&RawValue> {
    serde_json::from_str(json.as_str()).ok()
}

/// Returns a response with this body and media type; an empty body has no type.
pub(super) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    let mut reply = Response::new(body.clone().into());
    *reply.status_mut() = status;
    if !body.is_empty() {
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    // Figures and receipts are valid for the moment only.
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A part of a page that is compiled in; `policy` says what the page may load.
pub(super) fn embedded(media_type: &'static str, policy: &'static str, text: &'static str) -> Reply {
    let mut reply = self::text(StatusCode::OK, media_type, text);
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// Returns a redirect for ever to `address`, which is relative to the request's.
pub(super) fn moved(address: &'static str) -> Reply {
    let mut reply = text(StatusCode::PERMANENT_REDIRECT, "", "");
    reply
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(address));
    reply
}

/// Returns an error in the form of a route of no dialect.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    json(status, &PlainError { error: message })
}

/// Returns an error in the form of a dialect, on a route of its own.
pub(super) fn failed(mounted: &MountedDialect, status: StatusCode, message: &str) -> Reply {
    let error = HttpError {
        status: status.as_u16(),
        message,
        id: Uuid::new_v4(),
        now: SystemTime::now(),
    };
    planned(mounted.dialect.fail(&error))
}

/// Returns a dialect's reply as a response.
pub(super) fn planned(answer: HttpReply) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, JSON, answer.body)
}

/// Adds the allowed methods to `answer`.
pub(super) fn allow(mut answer: Reply, allowed: &[Method]) -> Reply {
    let names = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&names) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}

/// Adds the request for a token or a key to `answer`.
pub(super) fn challenge(mut answer: Reply) -> Reply {
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// Adds a time to retry to `answer`.
pub(super) fn later(mut answer: Reply) -> Reply {
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

/// Returns an error of the service API: a stable code for programs, a message for people.
pub(super) fn api_error(status: StatusCode, code: &str, message: &str) -> Reply {
    coded(status, code, message, Map::new())
}

/// Like [`api_error`], with details.
pub(super) fn coded(status: StatusCode, code: &str, message: &str, details: Map<String, Value>) -> Reply {
    let error = Coded {
        code,
        message,
        details,
    };
    json(status, &ApiError { error })
}
