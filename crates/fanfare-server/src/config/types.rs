//! Value types that serde does not know: secrets and networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use fanfare_core::{HIDDEN, serde_as_text};
use ipnet::{AddrParseError, IpNet};
use schemars::JsonSchema;

/// A text that no log, error or printed configuration may show. `Debug`, `Display` and `Serialize` give `***`.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", description = "A secret.", extend("x-kind" = "secret"))]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`. Trailing line ends are not part of it: `echo` and editors write them.
    pub fn new(text: &str) -> Self {
        Self(without_line_ends(text).to_owned())
    }

    /// Returns whether it begins or ends with white space, which is more often a mistake than intended.
    pub fn has_outer_space(&self) -> bool {
        self.0.trim() != self.0
    }

    /// Returns the secret. Call it where it is used, and never print the result.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

serde_as_text!(Secret);

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

/// Returns `text` without trailing line ends.
pub(crate) fn without_line_ends(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// A network such as `10.0.0.0/8`; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", description = "A network.", extend("x-kind" = "network"))]
pub struct Network(pub IpNet);

serde_as_text!(Network);

impl FromStr for Network {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse()).map(Self)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns whether `text` disables an optional address. `off` is for the environment, where an empty variable is not set.
pub(super) fn is_off(text: &str) -> bool {
    text.is_empty() || text == "off"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).ok().as_deref(), Some("\"***\""));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn line_ends_are_no_part_of_a_secret() {
        for (text, expected, odd) in [
            ("hunter2", "hunter2", false),
            ("hunter2\n", "hunter2", false),
            ("hunter2\r\n\n", "hunter2", false),
            ("hunter2 \n", "hunter2 ", true),
            ("\nhunter2", "\nhunter2", true),
            ("hunter\n2", "hunter\n2", false),
        ] {
            let secret = Secret::new(text);
            assert_eq!(
                (secret.expose(), secret.has_outer_space()),
                (expected, odd),
                "{text:?}"
            );
            let json = serde_json::to_string(text).unwrap_or_default();
            assert_eq!(
                serde_json::from_str::<Secret>(&json).ok(),
                Some(secret),
                "{text:?}"
            );
        }
    }
}
