//! Verification of JSON Web Tokens (RFC 7519) in the JWS compact serialization (RFC 7515).
//!
//! The cryptography is `jsonwebtoken`'s, on aws-lc. This module adds the rules around it, because the defaults of JWT
//! libraries differ from ours: which bytes are a token (`jws`), which key may check which algorithm (`keys`), the rules
//! for claims (`claims`), and the sources of keys (`jwks`, `secret`).
//!
//! A [`Verifier`] is made once and shared; `Verifier::verify` is pure, takes the time as an argument and does no I/O.

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

pub(crate) use claims::Verified;
pub use credentials::Credentials;
pub use error::{AuthSetupError, KeyError};
pub(crate) use error::{JwksError, TokenError};
pub use gate::{Gate, TokenRules};
pub(crate) use identity::supposed;
pub use jsonwebtoken::Algorithm;
pub(crate) use secret::{load_or_create_secret, secret_file, secret_to_be};
pub use verifier::{Verifier, VerifierOptions};
