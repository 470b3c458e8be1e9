//! A request's body, within a limit and a time.

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

/// A request's body, which its handler may read.
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
    /// Parses the bytes; many bytes on another thread.
    pub(super) async fn parse<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&Bytes) -> T + Send + 'static,
    ) -> T {
        parsing::parse(&self.bytes, parse).await
    }

    /// Returns why a refused body is not JSON; `None` if it was refused for another reason.
    pub(super) async fn not_json(&self) -> Option<BadBody> {
        let is_form = self.is_form;
        self.parse(move |bytes| bad_body::find(bytes, is_form)).await
    }
}

/// Reports whether a handler left a part of the body unread.
#[derive(Clone)]
pub(super) struct Rest(Rc<Cell<bool>>);

impl Rest {
    pub(super) fn is_unread(&self) -> bool {
        self.0.get()
    }
}

/// Returns the request, and a [`Rest`] that watches its body.
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

/// Like [`read`], with a smaller limit: `most` bytes.
pub(super) async fn read_within(most: usize, body: RequestBody, site: &Site) -> Result<Received, BadBody> {
    if body.is_encoded {
        let message = "the body has a Content-Encoding, expected plain JSON";
        return Err(BadBody::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let (max_body_size, request_timeout) = {
        let rules = site.rules();
        (rules.max_body_size, rules.request_timeout)
    };
    let limit = most.min(max_body_size);
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
