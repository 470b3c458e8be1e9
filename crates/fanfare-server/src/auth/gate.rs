//! The one place where an offered token becomes an identity.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use fanfare_accounts::Accounts;
use fanfare_core::Identity;
use tokio::{sync::Notify, task::JoinHandle};

use super::{TokenError, Verified, Verifier, identity::identity};

/// Verifies tokens and keeps of them what the rest of the server may know.
pub struct Gate {
    verifier: ArcSwap<Verifier>,
    /// The verifier was replaced.
    replaced: Notify,
    /// Claims that access rules ask for.
    wanted_claims: ArcSwap<Vec<Box<str>>>,
    /// Who knows what is revoked.
    accounts: Option<Accounts>,
}

impl Gate {
    /// A gate that keeps the claims called so, besides those that every identity has.
    pub fn new(verifier: Arc<Verifier>, wanted_claims: Vec<Box<str>>) -> Self {
        Self {
            verifier: ArcSwap::new(verifier),
            replaced: Notify::new(),
            wanted_claims: ArcSwap::from_pointee(wanted_claims),
            accounts: None,
        }
    }

    /// The same gate, which refuses what `accounts` have revoked.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Keeps these claims of tokens from now on. An identity keeps those of its own time.
    pub fn replace_wanted_claims(&self, wanted_claims: Vec<Box<str>>) {
        self.wanted_claims.store(Arc::new(wanted_claims));
    }

    /// Judges tokens by `verifier` from now on, and returns whether it does: not while that has no keys and the old one
    /// has some. Keys that the old one has fetched from the same address stay in use.
    pub fn replace_verifier(&self, verifier: Arc<Verifier>) -> bool {
        verifier.take_over(&self.verifier.load());
        if !verifier.has_keys() && self.has_keys() {
            return false;
        }
        self.verifier.store(verifier);
        self.replaced.notify_one();
        true
    }

    /// Whether there are keys to judge tokens with. While there are none, a node should get no clients.
    pub fn has_keys(&self) -> bool {
        self.verifier.load().has_keys()
    }

    /// Starts the task that keeps fetched keys fresh, those of a verifier that takes the place of another included. It
    /// runs until it is aborted. Must be called in a Tokio runtime, once.
    pub fn spawn_refresh(self: &Arc<Self>) -> JoinHandle<()> {
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let verifier = gate.verifier.load_full();
                tokio::select! {
                    () = verifier.keep_fresh() => {}
                    () = gate.replaced.notified() => {}
                }
            }
        })
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// Why the token proves nothing.
    pub async fn identify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let verified = self.verify(token).await?;
        let identity = identity(&verified, &self.wanted_claims.load()).ok_or(TokenError::BadClaim("sub"))?;
        Ok(Arc::new(identity))
    }

    /// The claims of `token`. A token by a key that is not here waits for one fetch of the keys.
    ///
    /// # Errors
    /// Why the token proves nothing.
    pub async fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let verifier = self.verifier.load_full();
        let judge = || verifier.verify(token, SystemTime::now());
        let claims = match judge() {
            Err(TokenError::UnknownKey) => {
                verifier.fetch_key(token).await?;
                judge()?
            }
            judged => judged?,
        };
        if self.is_revoked(&claims.user_id, claims.session_id.as_deref()) {
            return Err(TokenError::Revoked);
        }
        Ok(claims)
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
