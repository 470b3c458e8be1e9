//! Creates secrets: refresh tokens, reset tokens and API keys. Each is random, shown once, and stored as a hash.
//!
//! A plain SHA-256 is enough against guessing, because each secret has 256 bits. Looking up a hash is also safe against
//! timing: an attacker who measures the comparison learns about the hash, not the secret.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::{TryRngCore as _, rngs::OsRng};

use crate::AccountError;

/// The prefix of API keys, so that scanners for leaked secrets recognise them.
pub(crate) const KEY_PREFIX: &str = "ff_";
/// The number of characters: 43 of 62 are 256 bits.
const KEY_CHARACTERS: usize = 43;

const TOKEN_BYTES: usize = 32;

/// Returns a new refresh or reset token: 256 bits.
pub(crate) fn new_token() -> Result<String, AccountError> {
    let mut bytes = [0; TOKEN_BYTES];
    let filled = OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|_| AccountError::fault("no random numbers from the system"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns whether `text` has the form of [`new_token`]; if not, it needs no query.
pub(crate) fn may_be_token(text: &str) -> bool {
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.is_ok_and(|bytes| bytes.len() == TOKEN_BYTES)
}

/// Returns a new API key: 256 bits.
pub(crate) fn new_api_key() -> String {
    format!("{KEY_PREFIX}{}", new_text(KEY_CHARACTERS))
}

/// Returns a random password that can be typed: 20 letters and digits, 119 bits.
pub fn random_password() -> String {
    new_text(20)
}

fn new_text(characters: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), characters)
}

/// Returns the hash under which a secret is stored: SHA-256 in hexadecimal.
pub(crate) fn hash(secret: &str) -> String {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_sha_256_in_hexadecimal() {
        let check = |secret: &str, expected: &str| assert_eq!(hash(secret), expected);
        // FIPS 180-4's own examples.
        check(
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        check(
            "",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        );
    }

    #[test]
    fn secrets_are_long_and_new() {
        let key = new_api_key();
        assert_eq!((key.len(), key.starts_with("ff_")), (46, true));
        assert!(key[3..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(key, new_api_key());
        let token = new_token();
        assert_eq!(token.as_ref().map(String::len), Ok(43));
        assert_ne!(token, new_token());
        assert!(token.is_ok_and(|token| may_be_token(&token)));
    }

    #[test]
    fn only_the_canonical_spelling_of_32_bytes_may_be_a_token() {
        let long = "A".repeat(44);
        for text in ["", "a", &long, &long[..42], &long[..41]] {
            assert!(!may_be_token(text), "{text}");
        }
        assert!(may_be_token(&long[..43]));
        assert!(
            !may_be_token(&format!("{}B", &long[..42])),
            "another spelling of the same bytes"
        );
        assert!(!may_be_token(&format!("{}=", &long[..43])));
    }
}
