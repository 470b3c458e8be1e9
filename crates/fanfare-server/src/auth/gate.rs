//! The one place where an offered token becomes an identity.

use std::{sync::Arc, time::SystemTime};

use fanfare_core::Identity;

use super::{TokenError, Verified, Verifier, identity::identity};
use crate::accounts::Accounts;

/// Verifies tokens and keeps of them what the rest of the server may know.
pub struct Gate {
    verifier: Arc<Verifier>,
    /// Claims that access rules ask for.
    wanted_claims: Vec<Box<str>>,
    /// Who knows what is revoked.
    accounts: Option<Accounts>,
}

impl Gate {
    /// A gate that keeps the claims called so, besides those that every identity has.
    pub fn new(verifier: Arc<Verifier>, wanted_claims: Vec<Box<str>>) -> Self {
        Self {
            verifier,
            wanted_claims,
            accounts: None,
        }
    }

    /// The same gate, which refuses what `accounts` have revoked.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// Why the token proves nothing.
    pub fn identify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let verified = self.verify(token)?;
        let identity = identity(&verified, &self.wanted_claims).ok_or(TokenError::BadClaim("sub"))?;
        Ok(Arc::new(identity))
    }

    /// The claims of `token`.
    ///
    /// # Errors
    /// Why the token proves nothing.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let verified = self.verifier.verify(token, SystemTime::now())?;
        if self.is_revoked(&verified.user_id, verified.session_id.as_deref()) {
            return Err(TokenError::Revoked);
        }
        Ok(verified)
    }

    /// Whether what this identity was proved by has been revoked since.
    pub fn refuses(&self, identity: &Identity) -> bool {
        self.is_revoked(&identity.user, identity.session.as_deref())
    }

    /// Takes note that another node has ended a login session.
    pub fn revoke_session(&self, session: &str) {
        if let Some(accounts) = &self.accounts {
            accounts.session_ended(session);
        }
    }

    fn is_revoked(&self, user: &str, session: Option<&str>) -> bool {
        let accounts = self.accounts.as_ref();
        accounts.is_some_and(|accounts| accounts.revocations().is_refused(user, session))
    }
}
