//! Secrets, keys, algorithms, origins.

use fanfare_transports::BrokerKind;
use jsonwebtoken::Algorithm;

use super::{Checker, OUTER_SPACE};
use crate::config::types::Secret;
use crate::web_origin::canonical_origin;

/// The minimum for HS256 (RFC 7518 section 3.2: a key of the size of the hash or larger).
const SECRET_BYTES: usize = 32;
/// More secrets than a rotation needs, and with the one that signs as many as are tried for a token.
const MAX_ACCEPTED: usize = 7;
const ACCEPTED: &str = "auth.accepted_jwt_secrets";

pub(super) fn check(checker: &mut Checker<'_>) {
    secrets(checker);
    if checker.are_sound(&[
        "auth.algorithms",
        "auth.jwt_secret",
        ACCEPTED,
        "auth.jwks_url",
        "auth.public_key_file",
    ]) {
        algorithms(checker);
        missing_key(checker);
    }
    origins(checker);
}

fn secrets(checker: &mut Checker<'_>) {
    let auth = &checker.config.auth;
    if let Some(secret) = &auth.jwt_secret {
        secret_length(checker, "auth.jwt_secret", secret);
    }
    for secret in &auth.accepted_jwt_secrets {
        secret_length(checker, ACCEPTED, secret);
    }
    let count = auth.accepted_jwt_secrets.len();
    if count > MAX_ACCEPTED {
        let text = format!("found {count} secrets, expected at most {MAX_ACCEPTED}");
        checker.error(ACCEPTED, text);
    }
}

fn secret_length(checker: &mut Checker<'_>, key: &str, secret: &Secret) {
    if secret.has_outer_space() {
        checker.warning(key, OUTER_SPACE);
    }
    let length = secret.expose().len();
    if length < SECRET_BYTES {
        let text = format!("found a secret of {length} bytes, expected at least {SECRET_BYTES}");
        if checker.is_production() {
            checker.error(key, text);
        } else {
            checker.warning(key, format!("{text}; it can be guessed"));
        }
    }
}

/// Checks that each algorithm has its key. A symmetric algorithm with only public keys would be the classic key confusion.
fn algorithms(checker: &mut Checker<'_>) {
    const KEY: &str = "auth.algorithms";
    let auth = &checker.config.auth;
    let listed = &auth.algorithms;
    let public = auth.jwks_url.is_some() || auth.public_key_file.is_some();
    let shared = auth.jwt_secret.is_some() || !auth.accepted_jwt_secrets.is_empty() || !public;
    for (index, algorithm) in listed.iter().enumerate() {
        let text = if listed[..index].contains(algorithm) {
            format!("found \"{algorithm:?}\" twice, expected each algorithm once")
        } else if is_symmetric(*algorithm) && !shared {
            format!("found \"{algorithm:?}\", which needs auth.jwt_secret or auth.jwt_secret_file")
        } else if !is_symmetric(*algorithm) && !public {
            format!("found \"{algorithm:?}\", which needs auth.jwks_url or auth.public_key_file")
        } else {
            continue;
        };
        checker.error(KEY, text);
    }
    if shared && !listed.is_empty() && !listed.iter().copied().any(is_symmetric) {
        unused_secret(checker);
    }
}

/// Returns whether both sides hold the same secret, so that every verifier can also sign tokens.
fn is_symmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn unused_secret(checker: &mut Checker<'_>) {
    const KEY: &str = "auth.jwt_secret";
    if checker.merged.is_configured(KEY) && !checker.merged.values.text(KEY).is_empty() {
        checker.warning(KEY, "found a secret that none of auth.algorithms uses");
    }
    if !checker.config.auth.accepted_jwt_secrets.is_empty() {
        checker.warning(ACCEPTED, "found secrets that none of auth.algorithms uses");
    }
}

/// Checks that there is a key: each node of a cluster would generate another secret, and production generates none.
fn missing_key(checker: &mut Checker<'_>) {
    let auth = &checker.config.auth;
    let any = auth.jwt_secret.is_some() || auth.jwks_url.is_some() || auth.public_key_file.is_some();
    if checker.is_production() && !any {
        let text = "not set, expected a secret of at least 32 bytes (or auth.jwt_secret_file, auth.jwks_url, \
                    auth.public_key_file): the production profile makes none";
        checker.error("auth.jwt_secret", text);
    } else if !any && checker.config.broker.kind != BrokerKind::Memory {
        let text = "not set: each node that shares this broker generates a secret of its own, and refuses the tokens of \
                    the others; set the same auth.jwt_secret_file on all nodes";
        checker.warning("auth.jwt_secret", text);
    }
}

fn origins(checker: &mut Checker<'_>) {
    const KEY: &str = "auth.allowed_origins";
    if checker.is_production() && !checker.merged.is_configured(KEY) && checker.are_sound(&[KEY]) {
        let text = "not set, expected the origins of your pages, such as [\"https://app.example.com\"] (or [\"*\"] for \
                    every page there is): the production profile assumes none";
        checker.error(KEY, text);
        return;
    }
    for origin in &checker.config.auth.allowed_origins {
        if origin != "*" && canonical_origin(origin).is_none() {
            let text = format!(
                "found {origin:?}, expected \"*\", \"null\", \"file://\", or an origin such as \"https://app.example.com\""
            );
            checker.error(KEY, text);
        }
    }
}
