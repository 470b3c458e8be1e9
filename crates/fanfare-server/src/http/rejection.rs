//! Rejections of requests before a handler runs. Each group of routes renders them in its own form.

use fanfare_accounts::Scope;
use http::{Method, StatusCode};

use super::reply::{self, Reply};

/// The reason why no handler runs.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteRejection {
    #[error("not found")]
    NotFound,
    /// The path has only these methods.
    #[error("method not allowed")]
    WrongMethod(Vec<Method>),
    #[error("Server shutting down")]
    Draining,
    #[error("too many requests")]
    TooMany,
    /// The request has no valid API key, and no admin's token.
    #[error("an API key with the scope {0} is required")]
    NoKey(Scope),
    #[error("the API key does not have the scope {0}")]
    OutOfScope(Scope),
    /// The credential cannot be verified yet, for this reason.
    #[error("{0}")]
    NotYet(&'static str),
}

impl RouteRejection {
    pub(super) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    /// Returns the service API's code.
    pub(super) fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::NoKey(_) => (StatusCode::UNAUTHORIZED, "INVALID_TOKEN"),
            Self::OutOfScope(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::NotYet(_) => (StatusCode::SERVICE_UNAVAILABLE, "STARTING"),
        }
    }

    /// Adds this rejection's headers.
    pub(super) fn with_headers(&self, answer: Reply) -> Reply {
        match self {
            Self::WrongMethod(allowed) => reply::allow(answer, allowed),
            Self::NoKey(_) => reply::challenge(answer),
            Self::NotYet(_) => reply::retry_later(answer),
            Self::NotFound | Self::Draining | Self::TooMany | Self::OutOfScope(_) => answer,
        }
    }
}
