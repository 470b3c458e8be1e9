//! Every way in which an account, a login or a message can be refused.
//!
//! No text here repeats what a client sent.

use std::time::Duration;

use crate::storage::StorageError;

/// Why something about an account did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// A value cannot be taken.
    #[error("{field}: {issue}")]
    Bad {
        /// Which value, by its name in requests: `email`, `password`, `name`, `content`, `cursor`, …
        field: &'static str,
        /// What is wrong with it.
        issue: &'static str,
    },
    /// There is an account with this address.
    #[error("the address is taken")]
    Taken,
    /// Registration is closed.
    #[error("registration is closed")]
    Closed,
    /// No such user, another password, or the account is switched off: which of them is nobody's business.
    #[error("the address or the password is wrong")]
    BadCredentials,
    /// The current password that comes with a new one is not the user's.
    #[error("the current password is wrong")]
    WrongPassword,
    /// A reset token that is unknown, expired or spent.
    #[error("the reset token is not valid, or not any more")]
    BadResetToken,
    /// A refresh token that is unknown, expired, spent, or of a session that has ended.
    #[error("the refresh token is not valid")]
    BadToken,
    /// Too many failed logins for this account or from this address, refused tokens or registrations from it.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When another may be tried.
        retry_after: Duration,
    },
    /// Too many passwords are waiting to be hashed; to be tried again.
    #[error("too many logins at once")]
    Busy,
    /// Tokens are signed elsewhere: this server has no secret to sign with.
    #[error("tokens are issued elsewhere")]
    NotIssuing,
    /// There is no such user, session or key.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is not known of the next message whether it may be read: the authorizer does not answer; to be tried again.
    #[error("the authorizer does not answer")]
    Undecided,
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AccountError {
    /// This is wrong with a field.
    pub const fn bad(field: &'static str, issue: &'static str) -> Self {
        Self::Bad { field, issue }
    }

    pub(crate) fn fault(text: impl Into<String>) -> Self {
        Self::Storage(StorageError::Fault(text.into()))
    }
}
