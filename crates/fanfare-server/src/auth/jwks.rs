//! Keys from a JWKS endpoint (RFC 7517 section 5), kept fresh in the background.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::Algorithm;
use super::error::{AuthSetupError, JwksError, TokenError};
use super::jws::{Check, Jws};
use super::keys::{Key, from_jwk, keys_of};

/// The longest time that one fetch may take, from connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
pub(super) const MAX_JWKS_BYTES: usize = 1024 * 1024;
/// How many keys of a set are kept.
const MAX_KEYS: usize = 256;
const MAX_REDIRECTS: usize = 4;

/// How often to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two fetches when all is well.
    pub(super) period: Duration,
    /// At least this between a fetch and one that an unknown key id asks for: strangers choose key ids.
    pub(super) on_demand: Duration,
    /// After a failure; doubled at each further one, up to `on_demand`.
    pub(super) first_retry: Duration,
}

const PACE: Pace = Pace {
    period: Duration::from_secs(600),
    on_demand: Duration::from_secs(30),
    first_retry: Duration::from_secs(1),
};

/// The keys of an endpoint, as of the last successful fetch.
pub(super) struct RemoteKeys {
    client: reqwest::Client,
    url: reqwest::Url,
    accepted: Box<[Algorithm]>,
    /// `None` until the first success.
    keys: RwLock<Option<Arc<[Key]>>>,
    /// A token named a key that is not here.
    wanted: Notify,
    pub(super) pace: Pace,
}

impl RemoteKeys {
    /// Nothing is fetched yet.
    pub(super) fn new(url: &str, accepted: &[Algorithm]) -> Result<Self, AuthSetupError> {
        let url = reqwest::Url::parse(url).map_err(|_| AuthSetupError::JwksUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(AuthSetupError::JwksUrl);
        }
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::custom(redirect))
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| AuthSetupError::HttpClient(error.without_url()))?;
        let (keys, wanted) = (RwLock::new(None), Notify::new());
        Ok(Self {
            client,
            url,
            accepted: accepted.into(),
            keys,
            wanted,
            pace: PACE,
        })
    }

    /// Checks a signature. Asks for a fetch if the token names a key that is not here.
    pub(super) fn check(&self, jws: &Jws<'_>) -> Result<Check, TokenError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = keys.ok_or(TokenError::KeysUnavailable)?; // being fetched anyway, over and over
        let unknown = jws
            .key_id()
            .is_some_and(|id| !keys.iter().any(|key| key.id() == Some(id)));
        let verdict = jws.check(&keys);
        if unknown && verdict != Check::Good {
            self.wanted.notify_one();
            return Ok(Check::NoKey);
        }
        Ok(verdict)
    }

    /// Fetches for ever.
    pub(super) async fn keep_fresh(&self) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.refresh().await {
                Ok(()) => {
                    failures = 0;
                    self.pace.period
                }
                Err(error) => {
                    let kept = self.keys.read().unwrap_or_else(PoisonError::into_inner).is_some();
                    tracing::warn!(%error, old_keys_kept = kept, "the JWKS could not be fetched");
                    let retry = self.pace.first_retry.saturating_mul(1 << failures.min(10));
                    failures += 1;
                    retry.min(self.pace.on_demand)
                }
            };
            let demanded = async {
                tokio::time::sleep(self.pace.on_demand).await;
                self.wanted.notified().await;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = demanded => {}
            }
        }
    }

    /// Fetches once, and puts the new keys in the place of the old.
    pub(super) async fn refresh(&self) -> Result<(), JwksError> {
        let body = self.fetch().await?;
        let keys = read_set(&body, &self.accepted)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
        Ok(())
    }

    async fn fetch(&self) -> Result<Vec<u8>, JwksError> {
        // The URL may hold credentials, and error texts are logged.
        let failed = |error: reqwest::Error| JwksError::Request(error.without_url());
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(JwksError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_JWKS_BYTES {
                return Err(JwksError::TooLong(MAX_JWKS_BYTES));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// A redirect must not leave the scheme: not from https to http, where anybody on the way could hand out keys.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let same_scheme = attempt
        .previous()
        .iter()
        .all(|url| url.scheme() == attempt.url().scheme());
    if !same_scheme {
        attempt.error("a redirect to another scheme")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

/// The usable keys of a JWK set. Others are passed over: sets hold keys for encryption and for algorithms to come.
fn read_set(body: &[u8], accepted: &[Algorithm]) -> Result<Vec<Key>, JwksError> {
    let set = serde_json::from_slice(body).ok().and_then(keys_of);
    let set = set.ok_or(JwksError::NotAKeySet)?;
    let keys: Vec<Key> = set
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
