//! The credentials for a NATS server, and the `CONNECT` line that sends them.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::json;

use super::protocol::Info;

/// The credentials for a server.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Nothing,
    Password { user: String, password: String },
    Token(String),
    Key(KeyFile),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// The contents of a credentials file: a key, and the account's JWT for it, if there is one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyFile {
    jwt: Option<String>,
    seed: String,
}

impl KeyFile {
    /// Reads the file at `path`: a `.creds` file, or a file with only the seed of a user's key.
    ///
    /// # Errors
    /// If it cannot be read, or has no key in it. The error contains no part of it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        Self::parse(&text).ok_or_else(|| {
            format!("found no key in {name}, expected a NATS credentials file or a user's seed (SU…)")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (mut jwt, mut seed) = (None, None);
        while let Some(line) = lines.next() {
            if line.contains("BEGIN NATS USER JWT") {
                jwt = lines.next().map(str::to_owned);
            } else if line.starts_with("SU") && KeyPair::from_seed(line).is_ok() {
                seed = Some(line.to_owned());
            }
        }
        Some(Self { jwt, seed: seed? })
    }
}

/// Returns the `CONNECT` line, the first line of a client.
///
/// # Errors
/// If the server does not offer what the login needs.
pub(super) fn connect_line(login: &Login, info: &Info, is_encrypted: bool) -> Result<Vec<u8>, String> {
    let mut line = json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": is_encrypted,
        "name": "fanfare",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "echo": true,
        "headers": true,
        "no_responders": true,
    });
    match login {
        Login::Nothing => {}
        Login::Password { user, password } => {
            line["user"] = json!(user);
            line["pass"] = json!(password);
        }
        Login::Token(token) => line["auth_token"] = json!(token),
        Login::Key(KeyFile { jwt, seed }) => {
            let unusable = |_| "the key in the credentials file is not usable".to_owned();
            let key = KeyPair::from_seed(seed).map_err(unusable)?;
            if info.nonce.is_empty() {
                return Err(
                    "this NATS server does not ask for keys, and there is a credentials file".to_owned(),
                );
            }
            let signature = key.sign(info.nonce.as_bytes()).map_err(unusable)?;
            line["sig"] = json!(URL_SAFE_NO_PAD.encode(signature));
            match jwt {
                Some(jwt) => line["jwt"] = json!(jwt),
                None => line["nkey"] = json!(key.public_key()),
            }
        }
    }
    Ok(format!("CONNECT {line}\r\n").into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn fields(login: &Login, nonce: &str) -> Value {
        let info = Info {
            nonce: nonce.to_owned(),
            ..Info::default()
        };
        let line = connect_line(login, &info, false).unwrap();
        let line = std::str::from_utf8(&line).unwrap();
        serde_json::from_str(
            line.strip_prefix("CONNECT ")
                .unwrap()
                .strip_suffix("\r\n")
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn each_login_has_its_fields_in_connect() {
        let login = Login::Password {
            user: "u\"\r\n".to_owned(),
            password: "p".to_owned(),
        };
        let found = fields(&login, "");
        assert_eq!((&found["user"], &found["pass"]), (&json!("u\"\r\n"), &json!("p")));
        assert_eq!(fields(&Login::Token("t".to_owned()), "")["auth_token"], "t");
        assert_eq!(format!("{login:?}"), "Login");

        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        for (text, jwt) in [(creds, Some("a.b.c")), (format!("{seed}\n"), None)] {
            let login = Login::Key(KeyFile::parse(&text).unwrap());
            let found = fields(&login, "nonce");
            let signature = URL_SAFE_NO_PAD.decode(found["sig"].as_str().unwrap()).unwrap();
            key.verify(b"nonce", &signature).unwrap();
            assert_eq!(found.get("jwt").and_then(Value::as_str), jwt);
            let public = jwt.is_none().then(|| key.public_key());
            assert_eq!(found.get("nkey").and_then(Value::as_str), public.as_deref());
            assert!(connect_line(&login, &Info::default(), false).is_err());
        }
        assert!(KeyFile::parse("SUNOKEY").is_none());
    }
}
