//! Turns offered tokens into identities, for the whole server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use fanfare_accounts::Accounts;
use fanfare_core::{BoxFuture, Denial, Identity};
use fanfare_engine::Authenticator;
use serde_json::{Map, Value};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Credentials, JwksError, TokenError, Verifier,
    identity::{hypothetical, identity},
};
use crate::{
    refusals::{RefusalLog, Refused, Subject},
    shared_lru::SharedLru,
};

/// Verifies tokens, and keeps the claims that the rest of the server may know.
pub struct Gate {
    rules: ArcSwap<TokenRules>,
    replaced: Notify,
    /// The tokens that needed no verification, and those that did.
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    accounts: Option<Accounts>,
    api_keys: ArcSwap<Credentials>,
    /// Logs refusals of credentials, requests and connections.
    pub(crate) refusals: RefusalLog,
}

impl Gate {
    /// Returns a gate that verifies tokens by `rules`.
    pub fn new(rules: TokenRules) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules),
            replaced: Notify::new(),
            cache_hits: AtomicU64::new(0),
            cache_misses: AtomicU64::new(0),
            accounts: None,
            api_keys: ArcSwap::default(),
            refusals: RefusalLog::default(),
        }
    }

    /// Returns the same gate, which also refuses tokens that `accounts` have revoked.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Replaces the API keys. Connections of other keys are revoked.
    pub fn replace_api_keys(&self, api_keys: Credentials) {
        self.api_keys.store(Arc::new(api_keys));
    }

    /// Prepares `verifier` to replace the present one: fetches its keys, or else takes over those that the present one has
    /// fetched from the same address. Fails only if `verifier` would have no keys and the present one has some.
    pub(crate) async fn prepare_verifier(&self, verifier: &Verifier) -> Result<(), JwksError> {
        let fetched = verifier.refresh_jwks().await;
        verifier.take_over(&self.rules.load().verifier);
        if verifier.has_keys() || !self.has_keys() {
            return Ok(());
        }
        fetched
    }

    /// Replaces the rules for tokens. Existing identities keep their claims.
    pub fn replace_rules(&self, rules: TokenRules) {
        self.rules.store(Arc::new(rules));
        self.replaced.notify_one();
    }

    /// Returns whether there are keys to verify tokens with. Without keys, a node should get no clients.
    pub fn has_keys(&self) -> bool {
        self.rules.load().verifier.has_keys()
    }

    /// Starts the task that keeps fetched keys fresh, also those of a later verifier. It runs until it is aborted. Must be
    /// called in a Tokio runtime, once.
    pub fn spawn_refresh(self: &Arc<Self>) -> JoinHandle<()> {
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let rules = gate.rules.load_full();
                tokio::select! {
                    () = rules.verifier.keep_fresh() => {}
                    () = gate.replaced.notified() => {}
                }
            }
        })
    }

    /// Returns the identity of the bearer of `token`. A token with an unknown key waits for one fetch of the keys.
    pub(crate) async fn identify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let rules = self.rules.load_full();
        match self.verify(&rules, token) {
            Err(TokenError::UnknownKey) => {
                rules.verifier.fetch_key(token).await?;
                self.verify(&rules, token)
            }
            verified => verified,
        }
    }

    /// Returns the identity for a token of `user` with these claims; `None` if `user` is not a user id.
    pub fn hypothetical(&self, user: &str, claims: Map<String, Value>) -> Option<Identity> {
        hypothetical(user, claims, &self.rules.load().wanted_claims)
    }

    /// Returns the number of tokens that the cache had, and of those that were verified.
    pub(crate) fn cache_counts(&self) -> [(&'static str, u64); 2] {
        [
            ("hit", self.cache_hits.load(Relaxed)),
            ("miss", self.cache_misses.load(Relaxed)),
        ]
    }

    fn verify(&self, rules: &TokenRules, token: &str) -> Result<Arc<Identity>, TokenError> {
        let (key, now) = (rules.cache_key(token), SystemTime::now());
        let cached = rules.cache.get(&key, |identity| !identity.has_expired(now));
        let counter = if cached.is_some() {
            &self.cache_hits
        } else {
            &self.cache_misses
        };
        counter.fetch_add(1, Relaxed);
        let identity = match &cached {
            Some(identity) => identity.clone(),
            None => rules.verify(token, now)?,
        };
        if self.has_revoked(&identity.user, identity.session.as_deref()) {
            return Err(TokenError::Revoked);
        }
        if cached.is_none() {
            rules.cache.insert(key, identity.clone());
        }
        Ok(identity)
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

/// The rules for tokens, and the cache of identities. A reload replaces both, so no identity outlives its settings.
pub struct TokenRules {
    verifier: Arc<Verifier>,
    /// The claims that access rules use; identities keep them.
    wanted_claims: Vec<Box<str>>,
    /// The identities of tokens that were accepted, until the tokens expire.
    cache: SharedLru<CacheKey, Arc<Identity>>,
}

/// The digest of a token, which is a secret itself, and the version of the keys that the token was verified with.
type CacheKey = ([u8; SHA256_OUTPUT_LEN], u64);

impl TokenRules {
    /// Returns rules with a cache of at most `max_cached_tokens`.
    pub fn new(verifier: Arc<Verifier>, wanted_claims: Vec<Box<str>>, max_cached_tokens: usize) -> Self {
        Self {
            verifier,
            wanted_claims,
            cache: SharedLru::new(max_cached_tokens),
        }
    }

    /// Returns the key of `token` in the cache. Call it before the token is verified: the keys may be replaced meanwhile, and
    /// a token that only the old keys accept must not be cached under the version of the new ones.
    fn cache_key(&self, token: &str) -> CacheKey {
        let keys_version = self.verifier.keys_version();
        let mut key = [0; SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        (key, keys_version)
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Identity>, TokenError> {
        let verified = self.verifier.verify(token, now)?;
        let identity = identity(&verified, &self.wanted_claims).ok_or(TokenError::BadClaim("sub"))?;
        Ok(Arc::new(identity))
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
            || identity.is_service && self.api_keys.load().has_lost(&identity.user)
    }

    fn revoke_session(&self, session: &str) {
        if let Some(accounts) = &self.accounts {
            accounts.session_ended(session);
        }
    }
}
