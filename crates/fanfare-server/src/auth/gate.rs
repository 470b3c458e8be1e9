//! The one place where an offered token becomes an identity.

use std::{sync::Arc, time::SystemTime};

use fanfare_core::Identity;

use super::{TokenError, Verified, Verifier, identity::identity};

/// Verifies tokens and keeps of them what the rest of the server may know.
#[derive(Debug)]
pub struct Gate {
    verifier: Arc<Verifier>,
    /// Claims that access rules ask for.
    wanted_claims: Vec<Box<str>>,
}

impl Gate {
    /// A gate that keeps the claims called so, besides those that every identity has.
    pub fn new(verifier: Arc<Verifier>, wanted_claims: Vec<Box<str>>) -> Self {
        Self {
            verifier,
            wanted_claims,
        }
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
        self.verifier.verify(token, SystemTime::now())
    }
}
