//! Builds the verifier of tokens from the configuration.

use std::{path::PathBuf, sync::Arc};

use fanfare_core::policy::Policy;

use crate::{
    auth::{self, AuthSetupError, Credentials, TokenRules, Verifier, VerifierOptions},
    config::{self, Config, Loaded, Problem, Secret},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Serve,
    /// A missing secret is an error, since a new one would invalidate every token in use.
    Reload,
    Check,
}

/// A verifier, and the secret that it uses.
pub(super) struct Keys {
    pub(super) verifier: Arc<Verifier>,
    pub(super) secret: Option<Vec<u8>>,
    /// The file of the secret, if this start generated it.
    pub(super) generated: Option<PathBuf>,
}

pub(super) fn api_keys(config: &Config) -> Credentials {
    Credentials::new(config.api.keys.iter().map(Secret::expose))
}

/// Reads the configured keys and builds a verifier. Without a configured key, it uses the secret in the data folder;
/// [`Purpose::Serve`] generates it if it is missing. An error names the setting.
pub(super) fn load(loaded: &Loaded, purpose: Purpose) -> Result<Keys, Problem> {
    let auth = &loaded.config.auth;
    let public_key_files = match &auth.public_key_file {
        Some(path) => vec![config::file_content(path).map_err(|reason| {
            let text = format!("found {:?}, which cannot be read: {reason}", path.display());
            loaded.problem(PUBLIC_KEY_FILE, text)
        })?],
        None => Vec::new(),
    };
    let (secret, generated) =
        shared_secret(&loaded.config, purpose).map_err(|(key, text)| loaded.problem(key, text))?;
    let accepted = auth
        .accepted_jwt_secrets
        .iter()
        .map(|secret| secret.expose().as_bytes().to_vec());
    let options = VerifierOptions {
        hmac_secrets: secret.iter().cloned().chain(accepted).collect(),
        public_key_files,
        jwks_url: auth.jwks_url.as_ref().map(|url| url.expose().to_owned()),
        algorithms: auth.algorithms.clone(),
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        leeway: auth.leeway,
    };
    let verifier = Verifier::new(options).map_err(|error| problem(loaded, &error))?;
    Ok(Keys {
        verifier: Arc::new(verifier),
        secret,
        generated,
    })
}

pub(super) fn token_rules(config: &Config, verifier: Arc<Verifier>, policy: &Policy) -> TokenRules {
    TokenRules::new(verifier, policy.wanted_claims(), config.auth.max_cached_tokens)
}

const PUBLIC_KEY_FILE: &str = "auth.public_key_file";

/// Returns the secret that signs tokens; `None` if only public keys are configured.
///
/// # Errors
/// If the secret's file cannot be read, or none can be created; the text names the file.
pub fn secret(config: &Config) -> Result<Option<Vec<u8>>, String> {
    let secret = shared_secret(config, Purpose::Serve);
    secret.map(|(secret, _)| secret).map_err(|(_, text)| text)
}

/// The secret that signs, and its file if it was generated now.
type SharedSecret = (Option<Vec<u8>>, Option<PathBuf>);

/// Returns the secret that signs; without a configured key, that of the data folder. An error is the key of a setting, and a
/// text.
fn shared_secret(config: &Config, purpose: Purpose) -> Result<SharedSecret, (&'static str, String)> {
    let auth = &config.auth;
    if let Some(secret) = &auth.jwt_secret {
        return Ok((Some(secret.expose().as_bytes().to_vec()), None));
    }
    if auth.jwks_url.is_some() || auth.public_key_file.is_some() {
        return Ok((None, None));
    }
    let file = match purpose {
        Purpose::Reload if !auth::secret_file(&config.data_dir).exists() => {
            let text = "not set, expected a secret: a server makes one at its start, never at a reload";
            return Err(("auth.jwt_secret", text.to_owned()));
        }
        Purpose::Serve | Purpose::Reload => auth::load_or_create_secret(&config.data_dir),
        Purpose::Check => auth::secret_to_be(&config.data_dir),
    };
    let file = file.map_err(|text| ("data_dir", text))?;
    Ok((Some(file.secret), file.created.then_some(file.path)))
}

/// Returns `error` as a problem of the setting that caused it.
fn problem(loaded: &Loaded, error: &AuthSetupError) -> Problem {
    let public_key_file = &loaded.config.auth.public_key_file;
    match error {
        AuthSetupError::PublicKey { error, .. } => {
            let file = public_key_file.as_ref().map(|file| file.display().to_string());
            let text = format!(
                "found {:?}, which cannot be used: {error}",
                file.unwrap_or_default()
            );
            loaded.problem(PUBLIC_KEY_FILE, text)
        }
        AuthSetupError::AlgorithmWithoutKey(_) | AuthSetupError::KeyWithoutAlgorithm => {
            loaded.problem("auth.algorithms", error.to_string())
        }
        AuthSetupError::JwksUrl | AuthSetupError::HttpClient(_) => {
            loaded.problem("auth.jwks_url", error.to_string())
        }
        AuthSetupError::NoKeys | AuthSetupError::EmptySecret | AuthSetupError::SecretIsPublicKey => {
            loaded.problem("auth.jwt_secret", error.to_string())
        }
    }
}
