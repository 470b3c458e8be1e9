//! The reasons why a token, a key or a key set is refused.
//!
//! No text here contains a byte of a token, a claim, a key or a URL, because these texts are logged.

/// The reason why a token is refused. It is for logs and metrics; the client only learns that the token is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum TokenError {
    /// Not a JWS in compact serialization (RFC 7515 section 7.1) whose payload is one JSON object, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// The header's `alg` is not among the configured ones (`none` never is), or `crit` asks for an extension
    /// (RFC 7515 section 4.1.11; this server implements none).
    #[error("the token's algorithm or a critical header parameter is not supported")]
    UnsupportedAlgorithm,
    /// A key was found, and it did not make the signature.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// No configured key fits the header's `alg` and `kid`.
    #[error("no key for the token's algorithm and key id")]
    UnknownKey,
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies in the future, further than the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token has no `{0}` claim")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or a value that cannot be used.
    #[error("the token's `{0}` claim is not usable")]
    BadClaim(&'static str),
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` does not name the configured audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The login session of the token was ended, or its user is disabled.
    #[error("the token is revoked")]
    Revoked,
    /// The key set, or a new one with the token's key, could not be fetched, so the token cannot be verified.
    #[error("the keys to check the token with could not be fetched")]
    KeysUnavailable,
}

/// The reason why a key cannot check signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor a JWK or JWK set, or the fields of the key do not fit together.
    #[error("not a PEM public key, a certificate, a JWK or a JWK set")]
    Unreadable,
    /// A private key instead of a public one: every reader of this server's files could sign tokens.
    #[error("a private key, where only the public key belongs")]
    Private,
    /// `oct` among public keys: a secret does not belong in a file of public keys.
    #[error("a symmetric key among public keys")]
    Symmetric,
    /// No supported algorithm uses this kind of key, this curve or this `alg`.
    #[error("an unsupported kind of key, curve or algorithm (supported: RSA, P-256, P-384, Ed25519)")]
    Unsupported,
    /// An RSA key below 2048 bits (RFC 7518 section 3.3), or above the 8192 that the library supports.
    #[error("an RSA key of {0} bits (2048 to 8192 are accepted)")]
    RsaSize(usize),
    /// The key is not for checking signatures, by `use` or `key_ops` (RFC 7517 sections 4.2 and 4.3).
    #[error("a key that is not meant for checking signatures (`use` or `key_ops`)")]
    NotForSignatures,
}

/// The reason why a [`Verifier`](super::Verifier) cannot be built from its options.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// Neither a secret, nor a public key, nor a key set URL.
    #[error("no key to check tokens with: configure a secret, a public key file or a JWKS URL")]
    NoKeys,
    /// The HMAC secret is empty.
    #[error("the token secret is empty")]
    EmptySecret,
    /// The HMAC secret is a public key or certificate, so that every holder of the public key could sign tokens.
    #[error("the token secret is a public key; configure it as the public key file instead")]
    SecretIsPublicKey,
    /// A public key file that cannot be used.
    #[error("public key file number {}: {error}", index + 1)]
    PublicKey {
        /// The position in `public_key_files`, from 0.
        index: usize,
        /// The problem with the file.
        error: KeyError,
    },
    /// A configured algorithm that none of the keys can be used with.
    #[error("algorithm {0:?} is configured, but no key can be used with it")]
    AlgorithmWithoutKey(super::Algorithm),
    /// None of the algorithms uses any of the public keys.
    #[error("the configured public keys can be used with none of the configured algorithms")]
    KeyWithoutAlgorithm,
    /// The JWKS URL is not an absolute http or https URL.
    #[error("the JWKS URL is not an absolute http or https URL")]
    JwksUrl,
    /// The HTTP client for the JWKS could not be made (for instance, no trusted root certificates).
    #[error("the HTTP client for the JWKS could not be made: {0}")]
    HttpClient(String),
}

/// The reason why a key set cannot be fetched. The keys of the last success stay in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwksError {
    /// No connection, no answer in time, a broken answer or a forbidden redirect.
    #[error("the JWKS request failed: {0}")]
    Request(#[source] reqwest::Error),
    #[error("the JWKS endpoint answered with HTTP status {0}")]
    Status(u16),
    #[error("the JWKS is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer is not a JWK set")]
    NotAKeySet,
    /// No key of the set can check signatures with a configured algorithm.
    #[error("the JWK set has no usable key")]
    NoUsableKey,
}
