//! The port to what verifies credentials.

use std::sync::Arc;

use fanfare_core::{BoxFuture, Denial, Identity};

/// Verifies the credentials that clients send while connected, and knows which were revoked since.
pub trait Authenticator: Send + Sync {
    /// Returns the identity that `token` proves. `dialect` names the client's dialect, for the log of refusals.
    ///
    /// # Errors
    /// Returns the answer for the client.
    fn identify<'a>(
        &'a self,
        dialect: &'static str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Identity>, Denial>>;

    /// Returns whether the credential of `identity` was revoked.
    fn is_revoked(&self, identity: &Identity) -> bool;

    /// Revokes the credentials of a login session that another node has ended.
    fn revoke_session(&self, session: &str);
}
