//! Keys, each bound to the algorithms it may be used with, and how they are read from a JWK (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::Algorithm;
use super::error::KeyError;

/// The kind of a key. It alone decides which algorithms may use the key: a token's header never turns a public key into
/// an HMAC secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Hmac,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    /// Returns whether a key of this kind checks signatures of `algorithm` (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub(super) fn checks(self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Hmac => matches!(algorithm, HS256 | HS384 | HS512),
            Self::Rsa => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256 => algorithm == ES256,
            Self::P384 => algorithm == ES384,
            Self::Ed25519 => algorithm == EdDSA,
        }
    }
}

pub(super) struct VerifyingKey {
    kind: KeyKind,
    /// The only algorithm to use the key with, if the JWK has an `alg`.
    only: Option<Algorithm>,
    id: Option<Box<str>>,
    material: DecodingKey,
}

impl VerifyingKey {
    pub(super) fn hmac(secret: &[u8]) -> Self {
        Self::new(KeyKind::Hmac, DecodingKey::from_secret(secret))
    }

    /// Returns the RSA public key of big-endian `modulus` and `exponent`.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let modulus = without_leading_zeros(modulus);
        let top = modulus.first();
        let bits = top.map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        let material = DecodingKey::from_rsa_raw_components(modulus, without_leading_zeros(exponent));
        Ok(Self::new(KeyKind::Rsa, material))
    }

    /// Returns the key of a point on P-256 or P-384 in the uncompressed form of SEC 1 section 2.3.3 (`04`, x, y).
    pub(super) fn ec(kind: KeyKind, point: &[u8]) -> Result<Self, KeyError> {
        let length = match kind {
            KeyKind::P256 => 1 + 2 * 32,
            KeyKind::P384 => 1 + 2 * 48,
            KeyKind::Hmac | KeyKind::Rsa | KeyKind::Ed25519 => return Err(KeyError::Unsupported),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err(KeyError::Unreadable);
        }
        Ok(Self::new(kind, DecodingKey::from_ec_der(point)))
    }

    pub(super) fn ed25519(key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != 32 {
            return Err(KeyError::Unreadable);
        }
        Ok(Self::new(KeyKind::Ed25519, DecodingKey::from_ed_der(key)))
    }

    fn new(kind: KeyKind, material: DecodingKey) -> Self {
        Self {
            kind,
            only: None,
            id: None,
            material,
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        self.kind == KeyKind::Hmac
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns whether the key may check tokens of `algorithm`.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.kind.checks(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Returns whether to try the key for a header with this `alg` and `kid`. If either side has no id, any id fits.
    pub(super) fn fits(&self, algorithm: Algorithm, key_id: Option<&str>) -> bool {
        let same_id = match (key_id, self.id()) {
            (Some(wanted), Some(own)) => wanted == own,
            (None, _) | (_, None) => true,
        };
        same_id && self.allows(algorithm)
    }

    /// Returns whether `signature` (base64url) over `message` was made with this key and `algorithm`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.allows(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.material, algorithm).unwrap_or(false)
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The members of a JWK that are used here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<Box<str>>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part of every asymmetric key.
    d: Option<Value>,
}

/// Returns the keys of a JWK set (RFC 7517 section 5), unread: a set may have keys of other kinds for other readers.
pub(super) fn keys_of(mut set: Value) -> Option<Vec<Value>> {
    match set.get_mut("keys")?.take() {
        Value::Array(keys) => Some(keys),
        _ => None,
    }
}

/// Reads one JWK as a public key for checking signatures.
pub(super) fn from_jwk(jwk: &Value) -> Result<VerifyingKey, KeyError> {
    // A derived reader would take a list for an object.
    let jwk = Some(jwk)
        .filter(|jwk| jwk.is_object())
        .ok_or(KeyError::Unreadable)?;
    let jwk = Jwk::deserialize(jwk).map_err(|_| KeyError::Unreadable)?;
    let ops = jwk.key_ops.as_deref();
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if jwk.kty == "oct" {
        return Err(KeyError::Symmetric);
    }
    if jwk.d.is_some() {
        return Err(KeyError::Private);
    }
    if !for_signatures {
        return Err(KeyError::NotForSignatures);
    }
    let mut key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => VerifyingKey::rsa(&member(jwk.n.as_deref())?, &member(jwk.e.as_deref())?)?,
        ("EC", Some("P-256")) => ec(KeyKind::P256, &jwk, 32)?,
        ("EC", Some("P-384")) => ec(KeyKind::P384, &jwk, 48)?,
        ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&member(jwk.x.as_deref())?)?,
        _ => return Err(KeyError::Unsupported),
    };
    if let Some(alg) = jwk.alg {
        let alg = alg.parse().map_err(|_| KeyError::Unsupported)?;
        if !key.kind.checks(alg) {
            return Err(KeyError::Unsupported);
        }
        key.only = Some(alg);
    }
    key.id = jwk.kid;
    Ok(key)
}

/// Returns the key of a JWK on a curve. Both coordinates have the full length of the field (RFC 7518 section 6.2.1.2):
/// joined without this check, a short x and a long y would make another point.
fn ec(kind: KeyKind, jwk: &Jwk, field_bytes: usize) -> Result<VerifyingKey, KeyError> {
    let (x, y) = (member(jwk.x.as_deref())?, member(jwk.y.as_deref())?);
    if x.len() != field_bytes || y.len() != field_bytes {
        return Err(KeyError::Unreadable);
    }
    VerifyingKey::ec(kind, &[&[4], x.as_slice(), y.as_slice()].concat())
}

fn member(text: Option<&str>) -> Result<Vec<u8>, KeyError> {
    let text = text.ok_or(KeyError::Unreadable)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Unreadable)
}
