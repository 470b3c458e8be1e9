//! The verifier of tokens.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::Algorithm;
use super::claims::{ClaimRules, VerifiedClaims};
use super::error::{AuthSetupError, JwksError, TokenError};
use super::jwks::RemoteKeys;
use super::jws::{Jws, SignatureCheck};
use super::keys::{KeyKind, VerifyingKey};
use super::pem;

/// HMAC secrets should be as long as the hash (RFC 7518 section 3.2); shorter ones work, with a warning.
const GOOD_SECRET_BYTES: usize = 32;

/// The options of a [`Verifier`].
#[derive(Clone, Default)]
pub struct VerifierOptions {
    /// The secrets of HS256, HS384 and HS512.
    pub hmac_secrets: Vec<Vec<u8>>,
    /// Contents of public key files: PEM (public keys, certificates; several blocks) or a JWK or JWK set as JSON.
    pub public_key_files: Vec<Vec<u8>>,
    /// The http or https URL of a JWK set (RFC 7517 section 5).
    pub jwks_url: Option<String>,
    /// The accepted algorithms. Empty: HS256 if there is a secret, and all that the public keys can be used with.
    pub algorithms: Vec<Algorithm>,
    /// If set, `iss` must be this.
    pub issuer: Option<String>,
    /// If set, `aud` must be or contain this.
    pub audience: Option<String>,
    /// The tolerated difference of clocks, for `exp` and `nbf`.
    pub leeway: Duration,
}

/// Neither the secret nor a URL with credentials in it may reach a log.
impl fmt::Debug for VerifierOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VerifierOptions").finish_non_exhaustive()
    }
}

/// Verifies tokens. All threads share one; verification takes no lock unless a JWKS is configured.
pub struct Verifier {
    algorithms: Box<[Algorithm]>,
    local: Box<[VerifyingKey]>,
    remote: Option<RemoteKeys>,
    rules: ClaimRules,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Verifier").field(&self.algorithms).finish()
    }
}

impl Verifier {
    /// Reads the keys and checks that they fit the algorithms. Does no I/O: the JWKS is fetched by
    /// [`Gate::spawn_refresh`](super::Gate::spawn_refresh) or `Verifier::refresh_jwks`.
    ///
    /// # Errors
    /// If the options cannot work, so that the server does not start with them.
    pub fn new(options: VerifierOptions) -> Result<Self, AuthSetupError> {
        let mut local = local_keys(&options)?;
        let has_remote = options.jwks_url.is_some();
        if local.is_empty() && !has_remote {
            return Err(AuthSetupError::NoKeys);
        }
        let algorithms = algorithms(options.algorithms, &local, has_remote)?;
        local.retain(|key| algorithms.iter().any(|algorithm| key.allows(*algorithm)));
        let remote = options.jwks_url.map(|url| RemoteKeys::new(&url, &algorithms));
        let remote = remote.transpose()?;
        let rules = ClaimRules {
            issuer: options.issuer,
            audience: options.audience,
            leeway: options.leeway,
        };
        Ok(Self {
            algorithms,
            local: local.into(),
            remote,
            rules,
        })
    }

    /// Verifies a token at the time `now`, its signature before its claims.
    pub(crate) fn verify(&self, token: &str, now: SystemTime) -> Result<VerifiedClaims, TokenError> {
        let jws = Jws::parse(token, &self.algorithms)?;
        let by_secret = KeyKind::Hmac.checks(jws.algorithm());
        self.rules.verify(&self.payload(&jws)?, by_secret, now)
    }

    /// Returns the payload of a token if one of the keys made its signature; the claims are not checked.
    #[cfg(test)]
    pub(super) fn verified_payload(&self, token: &str) -> Result<Vec<u8>, TokenError> {
        self.payload(&Jws::parse(token, &self.algorithms)?)
    }

    fn payload(&self, jws: &Jws<'_>) -> Result<Vec<u8>, TokenError> {
        let mut verdict = jws.check(&self.local);
        // Key sets have no secrets, so an HMAC token must not cause a fetch.
        if let Some(remote) = &self.remote
            && verdict != SignatureCheck::Good
            && !KeyKind::Hmac.checks(jws.algorithm())
        {
            verdict = remote.check(jws)?;
        }
        match verdict {
            SignatureCheck::Good => jws.payload(),
            SignatureCheck::Bad => Err(TokenError::BadSignature),
            SignatureCheck::NoKey => Err(TokenError::UnknownKey),
        }
    }

    /// Waits for a fetch of the key set if `token` names an unknown key. Fails with [`TokenError::KeysUnavailable`] if the
    /// key set could not be fetched.
    pub(crate) async fn fetch_key(&self, token: &str) -> Result<(), TokenError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let jws = Jws::parse(token, &self.algorithms)?;
        match jws.key_id() {
            Some(id) if !KeyKind::Hmac.checks(jws.algorithm()) => remote.await_key(id).await,
            _ => Ok(()),
        }
    }

    /// Returns whether there are keys to verify tokens with: no key set is configured, or it was fetched once.
    pub fn has_keys(&self) -> bool {
        self.remote.as_ref().is_none_or(RemoteKeys::are_fetched)
    }

    /// Returns the version of the keys, which changes whenever they are replaced.
    pub fn keys_version(&self) -> u64 {
        self.remote.as_ref().map_or(0, RemoteKeys::version)
    }

    /// Takes over the keys that `old` has fetched from the same address, so that they are never missing during a reload.
    pub fn take_over(&self, old: &Self) {
        if let (Some(remote), Some(old)) = (&self.remote, &old.remote) {
            remote.take_over(old);
        }
    }

    #[cfg(test)]
    pub(super) fn set_pace(&mut self, pace: super::jwks::Pace) {
        if let Some(remote) = &mut self.remote {
            remote.pace = pace;
        }
    }

    /// Fetches the JWKS now, if one is configured. After a failure, the keys of the last success stay in use.
    pub(crate) async fn refresh_jwks(&self) -> Result<(), JwksError> {
        match &self.remote {
            Some(remote) => remote.refresh().await,
            None => Ok(()),
        }
    }

    /// Keeps the JWKS fresh for ever: fetches it at once if it is missing, then periodically, and soon after a token names an
    /// unknown key. Failures are logged. Without a JWKS it does nothing.
    pub async fn keep_fresh(&self) {
        match &self.remote {
            Some(remote) => remote.keep_fresh().await,
            None => std::future::pending().await,
        }
    }
}

fn local_keys(options: &VerifierOptions) -> Result<Vec<VerifyingKey>, AuthSetupError> {
    let mut keys = Vec::new();
    for secret in &options.hmac_secrets {
        if secret.is_empty() {
            return Err(AuthSetupError::EmptySecret);
        }
        if pem::looks_public(secret) {
            return Err(AuthSetupError::SecretIsPublicKey);
        }
        if secret.len() < GOOD_SECRET_BYTES {
            tracing::warn!("the token secret is shorter than {GOOD_SECRET_BYTES} bytes and may be guessed");
        }
        keys.push(VerifyingKey::hmac(secret));
    }
    for (index, file) in options.public_key_files.iter().enumerate() {
        let read = pem::read_public_keys(file);
        keys.extend(read.map_err(|error| AuthSetupError::PublicKey { index, error })?);
    }
    Ok(keys)
}

/// Returns the accepted algorithms: the configured ones, or those of the keys. Fails for an algorithm without a key, and
/// for public keys that no algorithm uses. An unused secret is valid, because its variable may be for other programs.
fn algorithms(
    configured: Vec<Algorithm>,
    local: &[VerifyingKey],
    has_remote: bool,
) -> Result<Box<[Algorithm]>, AuthSetupError> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, PS384, PS512, RS256, RS384, RS512};
    let usable = |algorithm: Algorithm| {
        local.iter().any(|key| key.allows(algorithm)) || (has_remote && !KeyKind::Hmac.checks(algorithm))
    };
    let algorithms = if configured.is_empty() {
        let all = [
            HS256, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA,
        ];
        all.into_iter().filter(|algorithm| usable(*algorithm)).collect()
    } else {
        configured
    };
    if let Some(idle) = algorithms.iter().find(|algorithm| !usable(**algorithm)) {
        return Err(AuthSetupError::AlgorithmWithoutKey(*idle));
    }
    let mut public = local.iter().filter(|key| !key.is_secret()).peekable();
    if public.peek().is_some() && !public.any(|key| algorithms.iter().any(|algorithm| key.allows(*algorithm)))
    {
        return Err(AuthSetupError::KeyWithoutAlgorithm);
    }
    Ok(algorithms.into())
}
