//! A URL that is safe to print even if it contains a password.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use url::Url;

use crate::serde_as_text;

/// The text printed instead of a secret.
pub const HIDDEN: &str = "***";

/// A URL that may carry a password, or several of NATS servers, separated by commas. `Debug`, `Display` and `Serialize`
/// omit the user information.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", description = "A URL.", extend("x-kind" = "url"))]
pub struct GuardedUrl {
    /// At least one.
    urls: Vec<Url>,
    text: String,
}

impl GuardedUrl {
    /// Returns the whole URL, including the password. Call it only to open the connection.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns the scheme in lower case, such as `redis`; of several URLs the first one's.
    pub fn scheme(&self) -> &str {
        self.urls.first().map_or("", Url::scheme)
    }
}

impl FromStr for GuardedUrl {
    type Err = String;

    /// The error never repeats the text, which may contain a password.
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
                // After a forgotten slash the rest would be printed as a path, even if it is a password.
                Err("expected SCHEME://HOST".to_owned())
            }
        });
        let urls: Vec<Url> = urls.collect::<Result<_, String>>()?;
        let text: Vec<&str> = urls.iter().map(Url::as_str).collect();
        Ok(Self {
            text: text.join(","),
            urls,
        })
    }
}

impl fmt::Display for GuardedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, url) in self.urls.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            display(url, f)?;
        }
        Ok(())
    }
}

fn display(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}://", url.scheme())?;
    // Both are hidden: `redis://password@host` is a usual slip.
    if !url.username().is_empty() || url.password().is_some() {
        write!(f, "{HIDDEN}@")?;
    }
    if let Some(host) = url.host_str() {
        f.write_str(host)?;
    }
    if let Some(port) = url.port() {
        write!(f, ":{port}")?;
    }
    f.write_str(url.path())?;
    if url.query().is_some() {
        write!(f, "?{HIDDEN}")?; // some drivers take the password as a parameter
    }
    Ok(())
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
    fn urls_are_printed_without_what_they_guard() {
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
