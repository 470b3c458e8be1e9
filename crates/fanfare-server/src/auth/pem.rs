//! Public key files: PEM (RFC 7468) with any number of blocks, or a JWK or JWK set as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::Value;

use super::error::KeyError;
use super::keys::{KeyKind, VerifyingKey, from_jwk, keys_of};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The DER of the object identifiers of the two supported curves (RFC 5480 section 2.1.1.1).
const OID_P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];

/// Reads all keys of a public key file. Every key of a PEM file must be usable, since the file is for this purpose. In a
/// JWK set, keys for other purposes are skipped as long as one is usable.
pub(super) fn read_public_keys(file: &[u8]) -> Result<Vec<VerifyingKey>, KeyError> {
    let text = std::str::from_utf8(file).map_err(|_| KeyError::Unreadable)?;
    if text.trim_start().starts_with('{') {
        read_json(text)
    } else {
        read_pem(text)
    }
}

/// Returns whether `secret` is the text of a public key or a certificate, which must not be a secret.
pub(super) fn looks_public(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret);
    text.contains(BEGIN) && (text.contains("PUBLIC KEY-----") || text.contains("CERTIFICATE-----"))
}

fn read_json(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
    let json: Value = serde_json::from_str(text).map_err(|_| KeyError::Unreadable)?;
    if json.get("keys").is_none() {
        return Ok(vec![from_jwk(&json)?]);
    }
    let set = keys_of(json).ok_or(KeyError::Unreadable)?;
    let (mut keys, mut refusal) = (Vec::new(), KeyError::Unreadable);
    for jwk in &set {
        match from_jwk(jwk) {
            Ok(key) => keys.push(key),
            Err(error) => refusal = error,
        }
    }
    if keys.is_empty() { Err(refusal) } else { Ok(keys) }
}

fn read_pem(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let block = &rest[start..];
        let label = block[BEGIN.len()..].split_once(DASHES);
        let (label, _) = label.ok_or(KeyError::Unreadable)?;
        let end_line = format!("-----END {label}-----");
        let end = block.find(&end_line).ok_or(KeyError::Unreadable)? + end_line.len();
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => keys.push(read_block(&block[..end])?),
            "EC PARAMETERS" => {} // some tools put the curve's name before the key
            private if private.contains("PRIVATE") => return Err(KeyError::Private),
            _ => return Err(KeyError::Unsupported),
        }
        rest = &block[end..];
    }
    if keys.is_empty() {
        Err(KeyError::Unreadable)
    } else {
        Ok(keys)
    }
}

fn read_block(block: &str) -> Result<VerifyingKey, KeyError> {
    if let Ok(key) = DecodingKey::from_rsa_pem(block.as_bytes()) {
        let der = key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?;
        let components = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
        let (modulus, exponent) = components(der).map_err(|_| KeyError::Unreadable)?;
        return VerifyingKey::rsa(&modulus, &exponent);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(block.as_bytes()) {
        let kind = curve(block)?;
        return VerifyingKey::ec(kind, key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?);
    }
    let key = DecodingKey::from_ed_pem(block.as_bytes()).map_err(|_| KeyError::Unsupported)?;
    VerifyingKey::ed25519(key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?)
}

/// Returns the curve by its name. The length of the point is not enough: secp256k1 has the same as P-256.
fn curve(block: &str) -> Result<KeyKind, KeyError> {
    let lines = block.lines().filter(|line| !line.starts_with(DASHES));
    let base64: String = lines.map(str::trim).collect();
    let der = STANDARD.decode(base64).map_err(|_| KeyError::Unreadable)?;
    let names = |oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
    match (names(OID_P256), names(OID_P384)) {
        (true, false) => Ok(KeyKind::P256),
        (false, true) => Ok(KeyKind::P384),
        _ => Err(KeyError::Unsupported),
    }
}
