//! Verification of JSON Web Tokens (RFC 7519) in the JWS compact serialization (RFC 7515).
//!
//! `jsonwebtoken` does the cryptography, on aws-lc. This module adds stricter rules: the form of a token (`jws`), the
//! algorithms of each key (`keys`), the rules for claims (`claims`), and the sources of keys (`jwks`, `secret`).
//!
//! All threads share a [`Verifier`]. `Verifier::verify` takes the time as an argument and does no I/O.

mod claims;
mod credentials;
mod error;
mod gate;
mod identity;
mod jwks;
mod jws;
mod keys;
mod pem;
mod secret;
mod verifier;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use {claims::MAX_SUBJECT_BYTES, jws::MAX_TOKEN_BYTES};

pub(crate) use claims::VerifiedClaims;
pub use credentials::Credentials;
pub use error::{AuthSetupError, KeyError};
pub(crate) use error::{JwksError, TokenError};
pub use gate::{Gate, TokenRules};
pub(crate) use identity::hypothetical;
pub use jsonwebtoken::Algorithm;
pub(crate) use secret::{load_or_create_secret, secret_file, secret_to_be};
pub use verifier::{Verifier, VerifierOptions};
