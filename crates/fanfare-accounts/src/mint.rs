//! Mints tokens: for logins, the command line and tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value};

/// The last second of the year 9999. Later expiries are reduced to it, so that callers may add to them without overflow.
pub const LATEST_EXPIRY: u64 = 253_402_300_799;

/// Returns an HS256 token for `user_id` that is valid from `now` for `ttl` (whole seconds).
///
/// `extra` claims are added unchanged, except `sub`, `iat` and `exp`, which this function sets. The caller must check that
/// a verifier accepts `user_id`.
pub fn mint(
    secret: &[u8],
    user_id: &str,
    ttl: Duration,
    extra: &Map<String, Value>,
    now: SystemTime,
) -> String {
    let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires_at = issued_at.saturating_add(ttl.as_secs()).min(LATEST_EXPIRY);
    let mut claims = extra.clone();
    claims.insert("sub".to_owned(), user_id.into());
    claims.insert("iat".to_owned(), issued_at.into());
    claims.insert("exp".to_owned(), expires_at.into());
    sign(secret, &Value::Object(claims).to_string())
}

/// Signs any text as HS256.
pub fn sign(secret: &[u8], payload: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256)
        .expect("HMAC takes keys and messages of any length");
    format!("{message}.{signature}")
}
