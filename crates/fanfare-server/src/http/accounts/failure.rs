//! The failures of requests about accounts; the same for every family of routes.

use std::time::Duration;

use fanfare_accounts::{AccountError, storage::StorageError};
use http::{StatusCode, header};

use super::super::{
    body::Unread,
    caller::KEYS_UNAVAILABLE,
    rejection::RouteRejection,
    reply::{self, Reply},
};
use crate::auth::TokenError;

/// When to retry if too many clients ask for the same now.
const SOON: Duration = Duration::from_secs(1);
/// When to retry while the database is unavailable.
const LATER: Duration = Duration::from_secs(5);

/// Why a request failed. No text of it repeats a client's value.
#[derive(Debug)]
pub(in crate::http) enum Failure {
    /// The request does not reach a handler.
    Rejected(RouteRejection),
    Unread(Unread),
    NotAnObject,
    NoToken,
    BadToken(TokenError),
    KeysUnavailable,
    /// The session is another user's.
    NotYours,
    NotAdmin,
    Account(AccountError),
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Rejected(rejection) => rejection.status(),
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unread(unread) => unread.status(),
            Self::NotAnObject => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::BadToken(_) => StatusCode::UNAUTHORIZED,
            Self::NotYours | Self::NotAdmin => StatusCode::FORBIDDEN,
            Self::Account(error) => account_status(error),
        }
    }

    pub(super) fn message(&self) -> String {
        let text = match self {
            Self::Rejected(rejection) => return rejection.to_string(),
            Self::Unread(unread) => return unread.to_string(),
            Self::NotAnObject => "the body is not a JSON object",
            Self::NoToken => "an access token is required",
            Self::BadToken(TokenError::Expired) => "the access token has expired",
            Self::BadToken(_) => "the access token is not valid",
            Self::KeysUnavailable => KEYS_UNAVAILABLE,
            Self::NotYours => "a session is ended with a token of its own, or an admin's",
            Self::NotAdmin => "other users' sessions are shown to admins only",
            // The database's problem goes to the log, and not to the client.
            Self::Account(AccountError::Storage(error)) if error.is_outage() => {
                "accounts are not available at the moment"
            }
            Self::Account(AccountError::Storage(_)) => "internal error",
            Self::Account(error) => return error.to_string(),
        };
        text.to_owned()
    }

    /// Returns the wrong field, and the problem with it.
    pub(super) fn details(&self) -> Option<(&'static str, &'static str)> {
        match self {
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
            Self::KeysUnavailable => LATER,
            Self::Account(AccountError::Busy) => SOON,
            Self::Account(AccountError::Storage(error)) if error.is_outage() => LATER,
            _ => return reply,
        };
        // Whole seconds, and not before it makes sense.
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

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        if let AccountError::Storage(error) = &error
            && !error.is_outage()
        {
            tracing::error!(%error, "a request about accounts failed");
        }
        Self::Account(error)
    }
}

fn account_status(error: &AccountError) -> StatusCode {
    match error {
        AccountError::Bad { .. } | AccountError::BadResetToken => StatusCode::BAD_REQUEST,
        AccountError::Taken => StatusCode::CONFLICT,
        AccountError::Closed | AccountError::NotIssuing | AccountError::WrongPassword => {
            StatusCode::FORBIDDEN
        }
        AccountError::BadCredentials | AccountError::BadToken => StatusCode::UNAUTHORIZED,
        AccountError::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
        AccountError::NotFound(_) => StatusCode::NOT_FOUND,
        AccountError::Busy
        | AccountError::Undecided
        | AccountError::Storage(StorageError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        AccountError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
