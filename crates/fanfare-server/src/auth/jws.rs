//! The JWS compact serialization (RFC 7515 section 7.1), strictly: three base64url parts, no padding, no white space.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::claims::UniqueMap;
use super::error::TokenError;
use super::{Algorithm, keys::VerifyingKey};

/// The longest token, in bytes. A longer one is refused as malformed before any of it is parsed.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The most header parameters, more than all registered names together.
const MAX_PARAMETERS: usize = 32;

/// The most keys that are tried for one token, which limits the work that a stranger's token can cause.
const MAX_KEYS_TRIED: usize = 8;

/// A parsed token. Nothing in it is trusted until [`Jws::check`] has returned [`SignatureCheck::Good`].
pub(super) struct Jws<'a> {
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureCheck {
    /// One of the keys made it.
    Good,
    /// Keys fit the header, none of them made it.
    Bad,
    /// No key fits the header.
    NoKey,
}

impl<'a> Jws<'a> {
    /// Parses a token, and refuses an algorithm that `accepted` does not list.
    pub(super) fn parse(token: &'a str, accepted: &[Algorithm]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed); // five parts would be a JWE
        }
        let header = serde_json::from_slice(&decode(header)?);
        let UniqueMap(header) = header.map_err(|_| TokenError::Malformed)?;
        if header.len() > MAX_PARAMETERS {
            return Err(TokenError::Malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(TokenError::Malformed)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str().into()),
            Some(_) => return Err(TokenError::Malformed),
        };
        if header.contains_key("crit") {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        // `none` in any spelling is not an `Algorithm`, so it is refused here like every unknown name.
        let algorithm: Algorithm = algorithm.parse().map_err(|_| TokenError::UnsupportedAlgorithm)?;
        if !accepted.contains(&algorithm) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        Ok(Self {
            algorithm,
            key_id,
            signing_input,
            payload,
            signature,
        })
    }

    /// Returns the header's `alg`, which is one of the accepted.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Checks the signature against those `keys` that fit the header's `alg` and `kid`.
    ///
    /// Only keys of this server are ever used: `jwk`, `jku`, `x5c` and `x5u` in a header are ignored, because they
    /// name keys of the token's maker.
    pub(super) fn check(&self, keys: &[VerifyingKey]) -> SignatureCheck {
        let fitting = keys.iter().filter(|key| key.fits(self.algorithm, self.key_id()));
        let mut verdict = SignatureCheck::NoKey;
        for key in fitting.take(MAX_KEYS_TRIED) {
            if key.verifies(self.algorithm, self.signing_input.as_bytes(), self.signature) {
                return SignatureCheck::Good;
            }
            verdict = SignatureCheck::Bad;
        }
        verdict
    }

    /// Returns the payload's bytes. Call it after the signature was found good.
    ///
    /// It may be malformed even if the signature is good: a signature covers any encoded text.
    pub(super) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }
}

/// Decodes strict base64url without padding: `=`, white space, other alphabets and non-zero spare bits are errors, so
/// that one content has exactly one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}
