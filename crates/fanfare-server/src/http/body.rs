//! Reads a request's body, within a limit of bytes and of time.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::{
    Site,
    bad_body::{self, BadBody},
};
use crate::parsing;

/// A request's unread body.
pub(super) struct RequestBody {
    incoming: Incoming,
    rest: Rest,
    is_encoded: bool,
    is_form: bool,
}

/// A body that was read.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    is_form: bool,
}

impl Received {
    /// Parses the bytes; on another thread if they are many.
    pub(super) async fn parse<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&Bytes) -> T + Send + 'static,
    ) -> T {
        parsing::parse(&self.bytes, parse).await
    }

    /// Returns why the body is not JSON, or `error` if it is.
    pub(super) async fn explain<E: From<BadBody>>(&self, error: E) -> E {
        self.not_json().await.map_or(error, E::from)
    }

    /// Returns why the body is not JSON; `None` if it is.
    pub(super) async fn not_json(&self) -> Option<BadBody> {
        let is_form = self.is_form;
        self.parse(move |bytes| bad_body::find(bytes, is_form)).await
    }
}

/// A flag: whether a part of the body is unread.
#[derive(Clone)]
pub(super) struct Rest(Rc<Cell<bool>>);

impl Rest {
    pub(super) fn is_unread(&self) -> bool {
        self.0.get()
    }
}

/// Returns the request, and the flag of its body.
pub(super) fn watched(request: Request<Incoming>) -> (Request<RequestBody>, Rest) {
    let rest = Rest(Rc::new(Cell::new(!request.body().is_end_stream())));
    let (is_encoded, is_form) = (is_encoded(request.headers()), is_form(request.headers()));
    let body = |incoming| RequestBody {
        incoming,
        rest: rest.clone(),
        is_encoded,
        is_form,
    };
    (request.map(body), rest)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    !codings.all(|coding| coding.is_empty() || coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
    media_type.starts_with("application/x-www-form-urlencoded") || media_type.starts_with("multipart/")
}

/// Reads the whole body, within the configured limit and time.
pub(super) async fn read(body: RequestBody, site: &Site) -> Result<Received, BadBody> {
    read_within(usize::MAX, body, site).await
}

/// Reads the whole body if it has at most `max` bytes, within the configured limit and time.
pub(super) async fn read_within(max: usize, body: RequestBody, site: &Site) -> Result<Received, BadBody> {
    if body.is_encoded {
        let message = "the body has a Content-Encoding, expected plain JSON";
        return Err(BadBody::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let (max_body_size, request_timeout) = {
        let rules = site.rules();
        (rules.max_body_size, rules.request_timeout)
    };
    let limit = max.min(max_body_size);
    let too_big = || BadBody::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is over the size limit");
    if body.incoming.size_hint().lower() > limit as u64 {
        return Err(too_big()); // its Content-Length is over the limit
    }
    let reading = Limited::new(body.incoming, limit).collect();
    match tokio::time::timeout(request_timeout, reading).await {
        Ok(Ok(whole)) => {
            body.rest.0.set(false);
            Ok(Received {
                bytes: whole.to_bytes(),
                is_form: body.is_form,
            })
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_big()),
        Ok(Err(_)) => Err(BadBody::new(
            StatusCode::BAD_REQUEST,
            "the body could not be read",
        )),
        Err(_) => Err(BadBody::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )),
    }
}
