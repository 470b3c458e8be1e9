//! What tokens are verified with.

use std::path::PathBuf;

use crate::{
    auth::{self, Algorithm, VerifierOptions},
    config::{self, Config},
};

/// What a verifier needs, and the file in which a secret was made for it.
pub(super) struct Keys {
    pub(super) options: VerifierOptions,
    pub(super) made: Option<PathBuf>,
}

/// The configured keys; where there is none, the secret in the data folder, made if it is not there.
pub(super) fn load(config: &Config) -> Result<Keys, String> {
    let auth = &config.auth;
    let public_keys_pem = match &auth.public_key_file {
        Some(path) => vec![std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?],
        None => Vec::new(),
    };
    let (hmac_secret, made) = shared_secret(config)?;
    Ok(Keys {
        options: VerifierOptions {
            hmac_secret,
            public_keys_pem,
            jwks_url: auth.jwks_url.as_ref().map(|url| url.expose().to_owned()),
            algorithms: auth
                .algorithms
                .iter()
                .map(|algorithm| known(*algorithm))
                .collect(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            leeway: auth.leeway,
        },
        made,
    })
}

/// The secret that tokens are signed with; `None` where only public keys are configured.
///
/// # Errors
/// When the file that holds it cannot be read, or one cannot be made; the text names the file.
pub fn secret(config: &Config) -> Result<Option<Vec<u8>>, String> {
    shared_secret(config).map(|(secret, _)| secret)
}

fn shared_secret(config: &Config) -> Result<(Option<Vec<u8>>, Option<PathBuf>), String> {
    let auth = &config.auth;
    if let Some(secret) = &auth.jwt_secret {
        return Ok((Some(secret.expose().as_bytes().to_vec()), None));
    }
    if let Some(path) = &auth.jwt_secret_file {
        let read = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok((
            Some(read.trim_end_matches(['\r', '\n']).as_bytes().to_vec()),
            None,
        ));
    }
    if auth.jwks_url.is_some() || auth.public_key_file.is_some() {
        return Ok((None, None));
    }
    let file = auth::load_or_create_secret(&config.data_dir).map_err(|error| error.to_string())?;
    Ok((Some(file.secret), file.created.then_some(file.path)))
}

fn known(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::HS384 => Algorithm::HS384,
        config::Algorithm::HS512 => Algorithm::HS512,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::RS384 => Algorithm::RS384,
        config::Algorithm::RS512 => Algorithm::RS512,
        config::Algorithm::PS256 => Algorithm::PS256,
        config::Algorithm::PS384 => Algorithm::PS384,
        config::Algorithm::PS512 => Algorithm::PS512,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::ES384 => Algorithm::ES384,
        config::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}
