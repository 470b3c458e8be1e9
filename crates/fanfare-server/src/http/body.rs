//! A request's body, within a limit and a time.

use bytes::Bytes;
use http::StatusCode;
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

/// The whole body, within the configured limit and the time that a request's head has, too.
pub(super) async fn read(body: Incoming, options: &SiteOptions) -> Result<Bytes, Unread> {
    read_within(options.max_body_size, body, options).await
}

/// As [`read`], where less than the configured limit is enough: `most` bytes.
pub(super) async fn read_within(most: usize, body: Incoming, options: &SiteOptions) -> Result<Bytes, Unread> {
    let limit = most.min(options.max_body_size);
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooBig); // it says so itself
    }
    match tokio::time::timeout(options.handshake_timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
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
