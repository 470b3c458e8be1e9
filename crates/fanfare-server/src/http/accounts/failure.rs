//! The failures of users' requests about accounts and messages, the same for every family of routes.

use std::{borrow::Cow, time::Duration};

use fanfare_accounts::AccountError;
use http::{StatusCode, header};

use super::super::{
    bad_body::BadBody,
    caller::KEYS_UNAVAILABLE,
    rejection::RouteRejection,
    reply::{self, Reply},
};
use crate::auth::TokenError;

/// The time to a retry if too many passwords are being hashed.
const SOON: Duration = Duration::from_secs(1);
/// The time to a retry while the database, the authorizer or the identity provider is unavailable.
const LATER: Duration = Duration::from_secs(5);

/// The reason why a request failed. No text repeats a client's value.
#[derive(Debug)]
pub(in crate::http) enum Failure {
    /// The request does not reach a handler.
    Rejected(RouteRejection),
    BadBody(BadBody),
    /// The body of a message is not JSON.
    BadMessage(BadBody),
    NotAnObject,
    NoToken,
    BadToken(TokenError),
    KeysUnavailable,
    /// The session is another user's.
    NotYours,
    NotAdmin,
    /// The user may not publish on the message's channel.
    ClosedChannel,
    Account(AccountError),
}

/// A failure for a client: the status, a code for programs, and a text for people.
pub(super) type Described = (StatusCode, &'static str, Cow<'static, str>);

impl Failure {
    pub(super) fn describe(&self) -> Described {
        let unauthorized = StatusCode::UNAUTHORIZED;
        let (status, code, text) = match self {
            // All failures that are worth a retry have one code.
            Self::Rejected(rejection @ RouteRejection::Draining) => {
                return (rejection.status(), "SERVER_FULL", rejection.to_string().into());
            }
            Self::Rejected(rejection) => {
                return (rejection.status(), rejection.code(), rejection.to_string().into());
            }
            Self::BadBody(bad) | Self::BadMessage(bad) => {
                return (bad.status, "INVALID_REQUEST", bad.message.clone());
            }
            Self::Account(error) => return describe(error),
            Self::NotAnObject => (
                StatusCode::BAD_REQUEST,
                "INVALID_REQUEST",
                "the body is not a JSON object",
            ),
            Self::NoToken => (unauthorized, "INVALID_TOKEN", "an access token is required"),
            Self::BadToken(TokenError::Expired) => {
                (unauthorized, "TOKEN_EXPIRED", "the access token has expired")
            }
            Self::BadToken(_) => (unauthorized, "INVALID_TOKEN", "the access token is not valid"),
            Self::KeysUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "SERVER_FULL", KEYS_UNAVAILABLE),
            Self::NotYours => (
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "a session is ended with a token of its own, or an admin's",
            ),
            Self::NotAdmin => (
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "other users' sessions are shown to admins only",
            ),
            Self::ClosedChannel => (
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "the channel is not open to you",
            ),
        };
        (status, code, text.into())
    }

    /// Returns the wrong field, and the problem with it.
    pub(super) fn details(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::BadMessage(bad) => Some(("body", &bad.message)),
            Self::Account(AccountError::Bad { field, issue }) => Some((field, issue)),
            Self::Account(AccountError::BadResetToken) => Some(("token", "is not valid, or not any more")),
            _ => None,
        }
    }

    /// Adds this failure's headers to `reply`.
    pub(super) fn with_headers(&self, mut reply: Reply) -> Reply {
        let retry_after = match self {
            Self::Rejected(rejection) => return rejection.with_headers(reply),
            Self::NoToken | Self::BadToken(_) => return reply::challenge(reply),
            Self::Account(AccountError::TooManyAttempts { retry_after }) => *retry_after,
            Self::Account(AccountError::Busy) => SOON,
            Self::KeysUnavailable | Self::Account(AccountError::Undecided) => LATER,
            Self::Account(AccountError::Storage(error)) if error.is_outage() => LATER,
            _ => return reply,
        };
        // Rounded up: an earlier retry would fail.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        reply.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        reply
    }
}

impl From<RouteRejection> for Failure {
    fn from(rejection: RouteRejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<BadBody> for Failure {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad)
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        if let AccountError::Storage(error) = &error
            && !error.is_outage()
        {
            tracing::error!(%error, "a request about accounts or messages failed");
        }
        Self::Account(error)
    }
}

fn describe(error: &AccountError) -> Described {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, code) = match error {
        AccountError::Bad { .. } | AccountError::BadResetToken => {
            (StatusCode::BAD_REQUEST, "INVALID_REQUEST")
        }
        AccountError::Taken => (StatusCode::CONFLICT, "INVALID_REQUEST"),
        AccountError::Closed | AccountError::NotIssuing | AccountError::WrongPassword => {
            (StatusCode::FORBIDDEN, "FORBIDDEN")
        }
        AccountError::BadCredentials => (StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS"),
        AccountError::BadToken => (StatusCode::UNAUTHORIZED, "INVALID_TOKEN"),
        AccountError::TooManyAttempts { .. } => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
        AccountError::NotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        AccountError::Busy | AccountError::Undecided => (unavailable, "SERVER_FULL"),
        // The client must not see the database's error: it is logged.
        AccountError::Storage(error) if error.is_outage() => {
            let text = "the database is not available at the moment";
            return (unavailable, "SERVER_FULL", text.into());
        }
        AccountError::Storage(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return (status, "INTERNAL_ERROR", "internal error".into());
        }
    };
    (status, code, error.to_string().into())
}
