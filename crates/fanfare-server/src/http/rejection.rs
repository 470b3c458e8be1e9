//! Replies to requests that do not reach a handler. Each group of routes has its own form of them.

use std::borrow::Cow;

use fanfare_accounts::Scope;
use http::{Method, StatusCode};

use super::reply::{self, Reply};

/// Why a request does not reach a handler.
#[derive(Debug)]
pub(super) enum RouteRejection {
    /// There is no such path.
    NotFound,
    /// The path has other methods: these.
    WrongMethod(Vec<Method>),
    /// The server drains.
    Draining,
    /// The client sends too many requests.
    TooMany,
    /// There is no API key with this scope, and no admin's token.
    NoKey(Scope),
    /// The API key lacks this scope.
    OutOfScope(Scope),
    /// The credential cannot be judged yet, for this reason.
    NotYet(&'static str),
}

impl RouteRejection {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Draining | Self::NotYet(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NoKey(_) => StatusCode::UNAUTHORIZED,
            Self::OutOfScope(_) => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the service API's code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::WrongMethod(_) => "METHOD_NOT_ALLOWED",
            Self::Draining => "SHUTTING_DOWN",
            Self::TooMany => "RATE_LIMITED",
            Self::NoKey(_) => "INVALID_TOKEN",
            Self::OutOfScope(_) => "FORBIDDEN",
            Self::NotYet(_) => "STARTING",
        }
    }

    /// Returns the text for people.
    pub(super) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "not found".into(),
            Self::WrongMethod(_) => "method not allowed".into(),
            Self::Draining => "Server shutting down".into(),
            Self::TooMany => "too many requests".into(),
            Self::NoKey(wanted) => format!("an API key with the scope {wanted} is required").into(),
            Self::OutOfScope(wanted) => format!("the API key does not have the scope {wanted}").into(),
            Self::NotYet(reason) => (*reason).into(),
        }
    }

    /// Adds this rejection's headers.
    pub(super) fn with_headers(&self, answer: Reply) -> Reply {
        match self {
            Self::WrongMethod(allowed) => reply::allow(answer, allowed),
            Self::NoKey(_) => reply::challenge(answer),
            Self::NotYet(_) => reply::later(answer),
            Self::NotFound | Self::Draining | Self::TooMany | Self::OutOfScope(_) => answer,
        }
    }
}
