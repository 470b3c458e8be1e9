//! A request's body, within a limit and a time.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::SiteOptions;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is over the limit.
    TooBig,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// It took too long.
    TooLate,
}

/// A request's body, which its handler reads or leaves.
pub(super) struct RequestBody {
    incoming: Incoming,
    rest: Rest,
}

/// Whether a request's handler left something of the body unread.
#[derive(Clone)]
pub(super) struct Rest(Rc<Cell<bool>>);

impl Rest {
    /// Until the body is read to its end.
    pub(super) fn is_unread(&self) -> bool {
        self.0.get()
    }
}

/// Has the [`Rest`] know whether the body of `request` is read.
pub(super) fn watched(request: Request<Incoming>) -> (Request<RequestBody>, Rest) {
    let rest = Rest(Rc::new(Cell::new(!request.body().is_end_stream())));
    let body = |incoming| RequestBody {
        incoming,
        rest: rest.clone(),
    };
    (request.map(body), rest)
}

/// The whole body, within the configured limit and time.
pub(super) async fn read(body: RequestBody, options: &SiteOptions) -> Result<Bytes, Unread> {
    read_within(options.max_body_size, body, options).await
}

/// As [`read`], where less than the configured limit is enough: `most` bytes.
pub(super) async fn read_within(
    most: usize,
    body: RequestBody,
    options: &SiteOptions,
) -> Result<Bytes, Unread> {
    let RequestBody { incoming, rest } = body;
    let limit = most.min(options.max_body_size);
    if incoming.size_hint().lower() > limit as u64 {
        return Err(Unread::TooBig); // it says so itself
    }
    match tokio::time::timeout(options.request_timeout, Limited::new(incoming, limit).collect()).await {
        Ok(Ok(body)) => {
            rest.0.set(false);
            Ok(body.to_bytes())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooBig),
        Ok(Err(_)) => Err(Unread::Broken),
        Err(_) => Err(Unread::TooLate),
    }
}

impl Unread {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLate => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::TooBig => "the body is over the size limit",
            Self::Broken => "the body could not be read",
            Self::TooLate => "the body did not arrive in time",
        }
    }
}
