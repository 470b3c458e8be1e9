//! Tests of the whole module, by [`Verifier::verify`] as in the server.
#![allow(clippy::unwrap_used, clippy::similar_names)] // `verifier` and `verified` are what this is about

mod cache;
mod claims;
mod jwks;
mod key_files;
mod tokens;
mod wycheproof;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_accounts::mint::{self, mint};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::*;

/// The present of all tests, in unix seconds.
const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"the secret of the tests: at least 32 bytes";

const ALL_ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of `tests/data/auth-keys`, without its `.txt`.
fn key_file(name: &str) -> Vec<u8> {
    data(&format!("auth-keys/{name}.txt"))
}

fn private_key(name: &str) -> EncodingKey {
    let pem = key_file(&format!("{name}-private"));
    EncodingKey::from_rsa_pem(&pem)
        .or_else(|_| EncodingKey::from_ec_pem(&pem))
        .or_else(|_| EncodingKey::from_ed_pem(&pem))
        .unwrap()
}

/// Returns the public part of a test key as a JWK.
fn jwk(name: &str, algorithm: Algorithm, kid: Option<&str>) -> Value {
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&private_key(name), algorithm).unwrap()).unwrap();
    let members = jwk.as_object_mut().unwrap();
    members.retain(|_, value| !value.is_null());
    if let Some(kid) = kid {
        members.insert("kid".to_owned(), kid.into());
    }
    jwk
}

/// Returns a token of any header and payload.
fn token(header: &Value, payload: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let (header, payload) = (
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(payload),
    );
    let message = format!("{header}.{payload}");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn header(algorithm: Algorithm, kid: Option<&str>) -> Value {
    match kid {
        None => json!({"alg": format!("{algorithm:?}")}),
        Some(kid) => json!({"alg": format!("{algorithm:?}"), "kid": kid}),
    }
}

/// Returns valid claims.
fn good_claims() -> String {
    json!({"sub": "user123", "exp": NOW + 60}).to_string()
}

/// Returns a valid token, signed with a test key.
fn signed(name: &str, algorithm: Algorithm, kid: Option<&str>) -> String {
    token(
        &header(algorithm, kid),
        &good_claims(),
        &private_key(name),
        algorithm,
    )
}

fn with_secret() -> VerifierOptions {
    VerifierOptions {
        hmac_secrets: vec![SECRET.to_vec()],
        ..VerifierOptions::default()
    }
}

fn with_public_keys(files: Vec<Vec<u8>>) -> VerifierOptions {
    VerifierOptions {
        public_key_files: files,
        ..VerifierOptions::default()
    }
}

fn verifier(options: VerifierOptions) -> Verifier {
    Verifier::new(options).unwrap()
}

#[test]
fn a_minted_token_is_accepted_until_it_ends() {
    let verifier = verifier(with_secret());
    let extra = json!({"roles": ["admin"], "sub": "somebody else", "sid": "s-1", "name": "Ada"});
    let token = mint(
        SECRET,
        "user123",
        Duration::from_secs(60),
        extra.as_object().unwrap(),
        now(),
    );
    let verified = verifier.verify(&token, now()).unwrap();
    assert_eq!(
        &*verified.user_id, "user123",
        "an extra claim does not replace the user"
    );
    assert!(!verified.subject_is_number);
    assert_eq!(verified.expires_at, NOW + 60);
    assert_eq!(verified.session_id.as_deref(), Some("s-1"));
    assert_eq!(verified.claims["iat"], NOW);
    assert!(verified.has_role("admin") && !verified.has_role("adm"));
    assert_eq!(verified.username(), "Ada");
    let at = |seconds| {
        verifier
            .verify(&token, now() + Duration::from_secs(seconds))
            .err()
    };
    assert_eq!(at(59), None);
    assert_eq!(at(60), Some(TokenError::Expired));
}

#[test]
fn a_verifier_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
}

#[test]
fn debug_output_shows_no_secret_and_no_claim() {
    let options = VerifierOptions {
        jwks_url: Some("https://user:hunter2@keys.example/".to_owned()),
        ..with_secret()
    };
    let options_text = format!("{options:?}");
    let verifier = verifier(options);
    let extra = json!({"email": "ada@example.com"});
    let token = mint(
        SECRET,
        "u",
        Duration::from_secs(9),
        extra.as_object().unwrap(),
        now(),
    );
    let verified = verifier.verify(&token, now()).unwrap();
    let text = format!("{options_text} {verifier:?} {verified:?}");
    for hidden in [
        "hunter2",
        "the secret of",
        "ada@example.com",
        &format!("{SECRET:?}"),
    ] {
        assert!(!text.contains(hidden), "{text}");
    }
}
