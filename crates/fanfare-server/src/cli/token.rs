//! `fanfare token`: creates a token, for a first try and for backends without a JWT library.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use fanfare_accounts::mint;
use serde_json::{Map, Value};

use super::{CommandFailure, Global, Outcome, Profile, output, usage};
use crate::{
    auth,
    config::{Config, Loaded},
    serve,
};

#[derive(Args)]
pub(super) struct Token {
    /// The token's user
    #[arg(long, value_name = "ID")]
    user: String,
    /// The token's lifetime, such as 30s, 15m, 1h [default: `auth.access_ttl`, 1h]
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// A further claim, its value in JSON or as plain text; may be repeated
    #[arg(long, value_name = "KEY=JSON")]
    claim: Vec<String>,
}

impl Token {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let loaded = global.load(&Profile::default())?;
        let token = mint(&loaded, &self.user, self.ttl, &claims(&self.claim)?)?;
        output::line(token);
        Ok(())
    }
}

/// Returns a token signed with the configured secret, or with the one in the data folder, which is generated if there
/// is none.
pub(super) fn mint(
    loaded: &Loaded,
    user: &str,
    ttl: Option<Duration>,
    claims: &Map<String, Value>,
) -> Result<String, CommandFailure> {
    fanfare_core::UserId::new(user).map_err(|error| usage(format!("--user: {error}")))?;
    let no_secret = || usage("this server cannot sign tokens: the configuration has only public keys");
    let secret = serve::secret(&loaded.config)?.ok_or_else(no_secret)?;
    let ttl = ttl.unwrap_or(loaded.config.auth.access_ttl);
    Ok(mint::mint(&secret, user, ttl, claims, SystemTime::now()))
}

/// Returns whether the secret that [`mint()`] signs with exists.
pub(super) fn has_secret(config: &Config) -> bool {
    config.auth.jwt_secret.is_some() || generated_secret(config).is_some()
}

/// Returns the file of the generated secret, if the server signs with that one.
pub(super) fn generated_secret(config: &Config) -> Option<PathBuf> {
    let keys = &config.auth;
    let configured = keys.jwt_secret.is_some() || keys.jwks_url.is_some() || keys.public_key_file.is_some();
    let file = auth::secret_file(&config.data_dir);
    (!configured && file.exists()).then_some(file)
}

/// Returns the claims that `--claim` names.
pub(super) fn claims(given: &[String]) -> Result<Map<String, Value>, CommandFailure> {
    let read = |claim: &String| {
        let (key, value) = claim.split_once('=').ok_or_else(|| {
            usage(format!(
                "--claim {claim}: expected KEY=JSON, such as roles='[\"admin\"]'"
            ))
        })?;
        if ["sub", "iat", "exp"].contains(&key) {
            return Err(usage(format!("--claim {key}: set by --user and --ttl")));
        }
        Ok((key.to_owned(), claim_value(key, value)?))
    };
    given.iter().map(read).collect()
}

/// Returns the value of one claim: JSON, or plain text. A text that begins like a JSON object, list or string must be
/// JSON.
fn claim_value(key: &str, text: &str) -> Result<Value, CommandFailure> {
    serde_json::from_str(text).or_else(|error| {
        if text.trim_start().starts_with(['{', '[', '"']) {
            return Err(usage(format!(
                "--claim {key}: {text} is not JSON: {error} (for a text, write a JSON string)"
            )));
        }
        Ok(Value::String(text.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(text: &str) -> Result<Value, String> {
        match claims(&[format!("x={text}")]) {
            Ok(claims) => Ok(claims["x"].clone()),
            Err(CommandFailure::Usage(text) | CommandFailure::Runtime(text)) => Err(text),
        }
    }

    #[test]
    fn values_of_claims() {
        for (text, expected) in [
            (r#"{"a":1}"#, json!({"a": 1})),
            (r#" ["admin"] "#, json!(["admin"])),
            (r#""text""#, json!("text")),
            ("7", json!(7)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("", json!("")),
            ("plain words", json!("plain words")),
            ("a=b", json!("a=b")),
            ("007", json!("007")),
            ("2026-11-28", json!("2026-11-28")),
            ("-", json!("-")),
            ("say \"hello\"", json!("say \"hello\"")),
        ] {
            assert_eq!(claim(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn broken_json_is_no_text() {
        for (text, reason) in [
            ("{nope", "key must be a string at line 1 column 2"),
            ("[1,", "EOF while parsing a value at line 1 column 3"),
            ("\"open", "EOF while parsing a string at line 1 column 5"),
            ("{} {}", "trailing characters at line 1 column 4"),
            (" {", "EOF while parsing an object at line 1 column 2"),
        ] {
            let expected =
                format!("--claim x: {text} is not JSON: {reason} (for a text, write a JSON string)");
            assert_eq!(claim(text), Err(expected));
        }
    }
}
