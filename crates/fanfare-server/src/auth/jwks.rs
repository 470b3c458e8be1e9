//! Keys from a JWKS endpoint (RFC 7517 section 5), kept fresh in the background.
//!
//! One task fetches. A token with an unknown key requests a fetch from that task and waits for it. All such tokens share
//! one fetch. Strangers can invent key ids, but they cannot cause more than one fetch per [`Pace::on_demand`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fanfare_core::GuardedUrl;
use tokio::sync::{Notify, watch};

use super::Algorithm;
use super::error::{AuthSetupError, JwksError, TokenError};
use super::jws::{Jws, SignatureCheck};
use super::keys::{VerifyingKey, from_jwk, keys_of};
use crate::{causes::Causes, outbound};

/// The longest time that one fetch may take, from connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const MAX_JWKS_BYTES: usize = 1024 * 1024;
const MAX_KEYS: usize = 256;
const MAX_REDIRECTS: usize = 4;
/// The most tokens that wait for a fetch; each of them holds a connection.
const MAX_WAITING: usize = 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The time between two successful fetches.
    pub(super) period: Duration,
    /// The least time between a fetch and one for an unknown key id, because strangers choose key ids.
    pub(super) on_demand: Duration,
    /// The time after a failure; doubled at each further one, up to `last_retry`.
    pub(super) first_retry: Duration,
    /// The longest time between two attempts while old keys are in use. Without any key it is `FETCH_TIMEOUT` at most.
    pub(super) last_retry: Duration,
}

const PACE: Pace = Pace {
    period: Duration::from_secs(600),
    on_demand: Duration::from_secs(2),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(30),
};

/// The keys of an endpoint, as of the last successful fetch.
pub(super) struct RemoteKeys {
    client: reqwest::Client,
    url: GuardedUrl,
    accepted: Box<[Algorithm]>,
    /// `None` until the first success.
    keys: ArcSwapOption<Vec<VerifyingKey>>,
    version: AtomicU64,
    /// Notified for a token with an unknown key.
    wanted: Notify,
    begun: AtomicU64,
    ended: watch::Sender<Ended>,
    pub(super) pace: Pace,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ended {
    count: u64,
    failed: bool,
}

impl RemoteKeys {
    pub(super) fn new(url: &str, accepted: &[Algorithm]) -> Result<Self, AuthSetupError> {
        let url: GuardedUrl = url.parse().map_err(|_| AuthSetupError::JwksUrl)?;
        let has_host = reqwest::Url::parse(url.expose()).is_ok_and(|url| url.has_host());
        if !matches!(url.scheme(), "http" | "https") || !has_host {
            return Err(AuthSetupError::JwksUrl);
        }
        let client = outbound::client()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::custom(redirect))
            .build()
            .map_err(|error| AuthSetupError::HttpClient(Causes(&error.without_url()).to_string()))?;
        Ok(Self {
            client,
            url,
            accepted: accepted.into(),
            keys: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::default(),
            pace: PACE,
        })
    }

    fn replace(&self, keys: Arc<Vec<VerifyingKey>>) {
        self.keys.store(Some(keys));
        self.version.fetch_add(1, Ordering::SeqCst); // a caller that reads this version has the keys of it, or later ones
    }

    /// Returns the version of the keys, which each replacement counts up.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Returns whether a fetch has ever succeeded.
    pub(super) fn are_fetched(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Takes over the keys of `old` if there are none here, and `old` fetched them from the same address for the same algorithms.
    pub(super) fn take_over(&self, old: &Self) {
        if !self.are_fetched()
            && self.url == old.url
            && self.accepted == old.accepted
            && let Some(keys) = old.keys.load_full()
        {
            self.replace(keys);
        }
    }

    fn has(&self, id: &str) -> bool {
        let keys = self.keys.load_full();
        keys.is_some_and(|keys| keys.iter().any(|key| key.id() == Some(id)))
    }

    /// Checks a signature with the fetched keys.
    pub(super) fn check(&self, jws: &Jws<'_>) -> Result<SignatureCheck, TokenError> {
        let keys = self.keys.load_full().ok_or(TokenError::KeysUnavailable)?; // the background task fetches them
        let verdict = jws.check(&keys);
        let is_unknown = |id| !keys.iter().any(|key| key.id() == Some(id));
        if verdict != SignatureCheck::Good && jws.key_id().is_some_and(is_unknown) {
            return Ok(SignatureCheck::NoKey);
        }
        Ok(verdict)
    }

    /// Waits until the key of this id is fetched, or until a fetch that began after this call has ended. Fails if that fetch
    /// failed or did not end in time, or if too many tokens wait already.
    pub(super) async fn await_key(&self, id: &str) -> Result<(), TokenError> {
        if self.has(id) {
            return Ok(());
        }
        let mut ended = self.ended.subscribe();
        if self.ended.receiver_count() > MAX_WAITING {
            return Err(TokenError::KeysUnavailable);
        }
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        let fetched = ended.wait_for(|ended| ended.count >= needed || self.has(id));
        let longest = self.pace.on_demand + 2 * FETCH_TIMEOUT; // a fetch that began before, the pause, and the needed fetch
        let fetched = tokio::time::timeout(longest, fetched).await;
        match fetched {
            Ok(Ok(ended)) if !ended.failed || self.has(id) => Ok(()),
            _ => Err(TokenError::KeysUnavailable),
        }
    }

    /// Fetches for ever. Existing keys are used for a whole period first.
    pub(super) async fn keep_fresh(&self) {
        let mut failures = 0_u32;
        let mut logged = None;
        if self.are_fetched() {
            self.pause(self.pace.period).await;
        }
        loop {
            let pause = match self.refresh().await {
                Ok(()) => {
                    if logged.take().is_some() {
                        tracing::info!(url = %self.url, "the JWKS is fetched again");
                    }
                    failures = 0;
                    self.pace.period
                }
                Err(error) => {
                    self.log_failure(&error, &mut logged);
                    let retry = self.pace.first_retry.saturating_mul(1 << failures.min(10));
                    failures += 1;
                    let longest = if self.are_fetched() {
                        self.pace.last_retry
                    } else {
                        self.pace.last_retry.min(FETCH_TIMEOUT)
                    };
                    retry.min(longest)
                }
            };
            self.pause(pause).await;
        }
    }

    /// Waits for `pause`, or until a token needs an unknown key.
    async fn pause(&self, pause: Duration) {
        let demanded = async {
            tokio::time::sleep(self.pace.on_demand).await;
            self.wanted.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = demanded => {}
        }
    }

    /// Logs a failure, unless the last one was the same.
    pub(super) fn log_failure(&self, error: &JwksError, logged: &mut Option<String>) {
        let reason = Causes(error).to_string();
        if logged.as_ref() != Some(&reason) {
            let old_keys_kept = self.are_fetched();
            tracing::warn!(url = %self.url, %reason, old_keys_kept, "the JWKS could not be fetched; trying again");
            *logged = Some(reason);
        }
    }

    /// Fetches once, and replaces the keys.
    pub(super) async fn refresh(&self) -> Result<(), JwksError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let fetched = async {
            let body = self.fetch().await?;
            read_set(&body, &self.accepted)
        };
        let fetched = fetched.await.map(|keys| self.replace(Arc::new(keys)));
        self.ended.send_modify(|ended| {
            ended.count += 1;
            ended.failed = fetched.is_err();
        });
        fetched
    }

    async fn fetch(&self) -> Result<Vec<u8>, JwksError> {
        // The URL may hold credentials, and error texts are logged.
        let failed = |error: reqwest::Error| JwksError::Request(error.without_url());
        let mut response = self.client.get(self.url.expose()).send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(JwksError::Status(response.status().as_u16()));
        }
        let body = outbound::body(&mut response, MAX_JWKS_BYTES).await;
        body.map_err(failed)?.ok_or(JwksError::TooLong(MAX_JWKS_BYTES))
    }
}

/// A redirect must not change the scheme from https to http, where an attacker on the network could replace the keys.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let scheme = attempt.url().scheme();
    if !attempt.previous().iter().all(|url| url.scheme() == scheme) {
        attempt.error("a redirect to another scheme")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

/// Returns the usable keys of a JWK set. Others are skipped: sets have keys for encryption and for future algorithms.
fn read_set(body: &[u8], accepted: &[Algorithm]) -> Result<Vec<VerifyingKey>, JwksError> {
    let set = serde_json::from_slice(body).ok().and_then(keys_of);
    let set = set.ok_or(JwksError::NotAKeySet)?;
    let keys: Vec<VerifyingKey> = set
        .iter()
        .filter_map(|jwk| from_jwk(jwk).ok())
        .filter(|key| accepted.iter().any(|algorithm| key.allows(*algorithm)))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return Err(JwksError::NoUsableKey);
    }
    tracing::debug!(usable = keys.len(), of = set.len(), "JWKS fetched");
    Ok(keys)
}
