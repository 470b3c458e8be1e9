//! A URL that is safe to print even if it contains a password.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use url::{Position, Url};

use crate::serde_as_text;

/// The text printed instead of a secret.
pub const HIDDEN: &str = "***";

/// A URL that may contain a password, or several URLs of NATS servers, separated by commas. `Debug`, `Display` and
/// `Serialize` omit user information and query.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", description = "A URL.", extend("x-kind" = "url"))]
pub struct GuardedUrl {
    text: String,
    /// The text without secrets.
    shown: String,
}

impl GuardedUrl {
    /// Returns the URL with its password. Call it only to open the connection.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns the scheme of the first URL in lower case, such as `redis`.
    pub fn scheme(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }
}

impl FromStr for GuardedUrl {
    type Err = String;

    /// Parses one URL, or several of NATS. The error never contains the text, which may have a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = match text.split(':').next() {
            Some("nats" | "tls") => text.split(',').map(str::trim).collect(),
            _ => vec![text],
        };
        let urls = parts.into_iter().map(|part| {
            let url = Url::parse(part).map_err(|reason| reason.to_string())?;
            if url.has_authority() {
                Ok(url)
            } else {
                // If a slash is missing, the rest is a path and would be shown, even if it is a password.
                Err("expected SCHEME://HOST".to_owned())
            }
        });
        let urls: Vec<Url> = urls.collect::<Result<_, String>>()?;
        let text: Vec<&str> = urls.iter().map(Url::as_str).collect();
        let shown: Vec<String> = urls.iter().map(without_secrets).collect();
        Ok(Self {
            text: text.join(","),
            shown: shown.join(","),
        })
    }
}

fn without_secrets(url: &Url) -> String {
    // The username is hidden too, because `redis://password@host` is a common mistake.
    let has_user = !url.username().is_empty() || url.password().is_some();
    let user = if has_user {
        format!("{HIDDEN}@")
    } else {
        String::new()
    };
    // Some drivers accept the password as a parameter.
    let query = url.query().map_or_else(String::new, |_| format!("?{HIDDEN}"));
    let place = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{user}{place}{query}", url.scheme())
}

impl fmt::Display for GuardedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for GuardedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(GuardedUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_secrets() {
        let check = |url: &str, printed: &str| {
            let parsed = url.parse::<GuardedUrl>();
            assert_eq!(
                parsed.map(|url| format!("{url}|{url:?}")),
                Ok(format!("{printed}|{printed}")),
                "{url}"
            );
        };
        check("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0");
        check("nats://a, nats://u:s3cret@b:1", "nats://a,nats://***@b:1");
        check(
            "redis://:pa%40ss@127.0.0.1:6379/0",
            "redis://***@127.0.0.1:6379/0",
        );
        check("redis://password@host", "redis://***@host");
        assert!("redis:/password@host".parse::<GuardedUrl>().is_err());
        check(
            "redis+unix:///run/redis.sock?pass=x",
            "redis+unix:///run/redis.sock?***",
        );
        check(
            "https://id.example.com/jwks.json#f",
            "https://id.example.com/jwks.json",
        );
    }
}
