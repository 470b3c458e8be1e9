//! The error of operations on accounts. No text here repeats a client's input.

use std::time::Duration;

use crate::storage::StorageError;

/// The reason why an operation on an account, a login or a message failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// A value is not accepted.
    #[error("{field}: {issue}")]
    Bad {
        /// The value's name in requests: `email`, `password`, `name`, `content`, `cursor`, …
        field: &'static str,
        /// The problem with it.
        issue: &'static str,
    },
    /// Another account has this address.
    #[error("the address is taken")]
    Taken,
    /// Registration is closed.
    #[error("registration is closed")]
    Closed,
    /// No such user, a wrong password, or a disabled account. The reply must not reveal which.
    #[error("the address or the password is wrong")]
    BadCredentials,
    /// The current password is wrong.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The reset token is unknown, expired or used.
    #[error("the reset token is not valid, or not any more")]
    BadResetToken,
    /// The refresh token is unknown, expired, used, or of a session that has ended.
    #[error("the refresh token is not valid")]
    BadToken,
    /// Too many failed logins for this account or from this address, or too many refused tokens or registrations from
    /// it.
    #[error("too many attempts")]
    TooManyAttempts {
        /// The time until the next attempt is allowed.
        retry_after: Duration,
    },
    /// Too many passwords wait to be hashed; retry later.
    #[error("too many logins at once")]
    Busy,
    /// This server has no secret to sign tokens with.
    #[error("tokens are issued elsewhere")]
    NotIssuing,
    /// There is no such user, session or key.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The authorizer does not answer whether the next message may be read; retry later.
    #[error("the authorizer does not answer")]
    Undecided,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AccountError {
    /// Returns the error for a bad value of a field.
    pub const fn bad(field: &'static str, issue: &'static str) -> Self {
        Self::Bad { field, issue }
    }

    /// Returns the error for a bug of the server.
    pub fn fault(text: impl Into<String>) -> Self {
        Self::Storage(StorageError::Fault(text.into()))
    }
}
