//! Turns offered tokens into identities, for the whole server.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use fanfare_accounts::Accounts;
use fanfare_core::{BoxFuture, Denial, Identity};
use fanfare_engine::Authenticator;
use serde_json::{Map, Value};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    JwksError, TokenError, Verified, Verifier,
    identity::{identity, supposed},
};
use crate::refusals::{RefusalLog, Refused, Subject};

/// Verifies tokens, and keeps the claims that the rest of the server may know.
pub struct Gate {
    verifier: ArcSwap<Verifier>,
    /// The verifier was replaced.
    replaced: Notify,
    /// The claims that access rules use.
    wanted_claims: ArcSwap<Vec<Box<str>>>,
    /// The revocations.
    accounts: Option<Accounts>,
    /// Logs refusals of credentials, requests and connections.
    pub(crate) refusals: RefusalLog,
}

impl Gate {
    /// Returns a gate that keeps these claims, besides those of every identity.
    pub fn new(verifier: Arc<Verifier>, wanted_claims: Vec<Box<str>>) -> Self {
        Self {
            verifier: ArcSwap::new(verifier),
            replaced: Notify::new(),
            wanted_claims: ArcSwap::from_pointee(wanted_claims),
            accounts: None,
            refusals: RefusalLog::default(),
        }
    }

    /// Returns the same gate, which also refuses tokens that `accounts` have revoked.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Replaces the claims to keep. Existing identities keep theirs.
    pub fn replace_wanted_claims(&self, wanted_claims: Vec<Box<str>>) {
        self.wanted_claims.store(Arc::new(wanted_claims));
    }

    /// Prepares `verifier` to take the place of the present one: fetches its keys, or else takes over those that the present
    /// one has fetched from the same address.
    ///
    /// # Errors
    /// Why the keys could not be fetched, if `verifier` would judge nothing and the present one judges tokens.
    pub async fn prepare_verifier(&self, verifier: &Verifier) -> Result<(), JwksError> {
        let fetched = verifier.refresh_jwks().await;
        verifier.take_over(&self.verifier.load());
        if verifier.has_keys() || !self.has_keys() {
            return Ok(());
        }
        fetched
    }

    /// Judges tokens by `verifier` from now on.
    pub fn replace_verifier(&self, verifier: Arc<Verifier>) {
        self.verifier.store(verifier);
        self.replaced.notify_one();
    }

    /// Returns whether there are keys to judge tokens with. Without keys, a node should get no clients.
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

    /// Returns the identity of the bearer of `token`.
    ///
    /// # Errors
    /// The reason why the token is refused.
    pub async fn identify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let verified = self.verify(token).await?;
        let identity = identity(&verified, &self.wanted_claims.load()).ok_or(TokenError::BadClaim("sub"))?;
        Ok(Arc::new(identity))
    }

    /// The identity that a token of `user` with these claims would prove; `None` if that is no user id.
    pub fn supposed(&self, user: &str, claims: Map<String, Value>) -> Option<Identity> {
        supposed(user, claims, &self.wanted_claims.load())
    }

    /// Returns the claims of `token`. A token with an unknown key waits for one fetch of the keys.
    ///
    /// # Errors
    /// The reason why the token is refused.
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
        if self.has_revoked(&claims.user_id, claims.session_id.as_deref()) {
            return Err(TokenError::Revoked);
        }
        Ok(claims)
    }

    /// Logs why a token is refused, and returns the answer for the client.
    fn deny(&self, dialect: &'static str, error: TokenError) -> Denial {
        let denial = match error {
            TokenError::Expired => Denial::ExpiredCredential,
            TokenError::KeysUnavailable => Denial::KeysUnavailable,
            _ => Denial::BadCredential,
        };
        self.refusals.note(&Refused {
            subject: Subject::Token,
            dialect: Some(dialect),
            reason: denial.label(),
            detail: Some(&error),
            peer: None,
            is_warning: false,
        });
        denial
    }

    fn has_revoked(&self, user: &str, session: Option<&str>) -> bool {
        let accounts = self.accounts.as_ref();
        accounts.is_some_and(|accounts| accounts.revocations().is_refused(user, session))
    }
}

impl Authenticator for Gate {
    fn identify<'a>(
        &'a self,
        dialect: &'static str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Identity>, Denial>> {
        Box::pin(async move {
            let identified = Self::identify(self, token).await;
            identified.map_err(|error| self.deny(dialect, error))
        })
    }

    fn is_revoked(&self, identity: &Identity) -> bool {
        self.has_revoked(&identity.user, identity.session.as_deref())
    }

    fn revoke_session(&self, session: &str) {
        if let Some(accounts) = &self.accounts {
            accounts.session_ended(session);
        }
    }
}
