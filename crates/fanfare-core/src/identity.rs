//! Who a connection proved to be.

use std::time::SystemTime;

use crate::UserId;

/// What a verified credential says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// When the credential ends, and the connection with it.
    pub expires_at: SystemTime,
}
