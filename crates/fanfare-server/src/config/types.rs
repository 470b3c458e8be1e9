//! The value types of the configuration that plain serde does not know: secrets, URLs with passwords,
//! durations, settings that may be empty.
//!
//! Every text form is parsed here and nowhere else, so that a value the loader has checked cannot fail when
//! the typed [`Config`](super::Config) is built from it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use fanfare_core::HIDDEN;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest duration a setting may have. Far more than any setting needs, and far less than what would
/// overflow a clock when it is added to *now*.
pub(super) const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A text that no log, error or printed configuration may show. `Debug`, `Display` and `Serialize` give `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed. Line ends behind it are no part of it: `echo` and editors write them.
    pub fn new(text: &str) -> Self {
        Self(without_line_ends(text).to_owned())
    }

    /// Whether white space stands before or behind it, which is more often a slip than meant.
    pub fn has_outer_space(&self) -> bool {
        self.0.trim() != self.0
    }

    /// The secret itself. Call it where it is used, and keep the result out of anything that is printed.
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

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(from)?))
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

/// `text` up to the line ends behind it.
pub(crate) fn without_line_ends(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// Reads a duration such as `30s`, `1h 30m` or `500ms`.
///
/// # Errors
/// Not a duration, or one longer than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("longer than ten years".to_owned()),
        Err(reason) => Err(reason.to_string()),
    }
}

/// Writes a duration in the largest unit that leaves a whole number: `1h`, `90s`, `1500ms`.
pub(super) fn format_duration(duration: Duration) -> String {
    if duration.subsec_nanos() != 0 {
        return humantime::format_duration(duration).to_string();
    }
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

/// Reads a network such as `10.0.0.0/8`; a bare address is the network of that one address.
///
/// # Errors
/// Neither a network nor an address.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse::<IpNet>().map_err(|reason| reason.to_string())
}

/// Whether `text` switches an optional address off. `off` is for the environment, where an empty variable
/// counts as one that is not set.
pub(super) fn is_off(text: &str) -> bool {
    text.is_empty() || text == "off"
}

/// serde for [`Duration`], written as humans write it.
pub(super) mod duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

/// serde for an optional text value: empty stands for none, because TOML has no null.
#[allow(clippy::ref_option)] // the signature is serde's
pub(super) mod optional {
    use super::{Deserialize, Deserializer, FromStr, Serialize, Serializer, fmt};

    pub(in super::super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(to),
            None => to.serialize_str(""),
        }
    }

    pub(in super::super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr,
        T::Err: fmt::Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

/// serde for an address that may be switched off.
#[allow(clippy::ref_option)] // the signature is serde's
pub(super) mod optional_address {
    use super::super::bind_address::BindAddress;
    use super::{Deserialize, Deserializer, Serializer, is_off};

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<BindAddress>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(address) => to.collect_str(address),
            None => to.serialize_str(""),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<BindAddress>, D::Error> {
        let text = String::deserialize(from)?;
        if is_off(&text) {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

/// serde for a list of networks, bare addresses included.
pub(super) mod networks {
    use super::{Deserialize, Deserializer, IpNet, Serializer, parse_network};

    pub(in super::super) fn serialize<S: Serializer>(value: &[IpNet], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(ToString::to_string))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts
            .iter()
            .map(|text| parse_network(text).map_err(serde::de::Error::custom))
            .collect()
    }
}

/// The JSON schemas of the text forms. `x-kind` tells the loader which of them a string is.
pub(super) mod text {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    macro_rules! text_schema {
        ($($name:ident = $kind:literal),+ $(,)?) => {$(
            pub(in super::super) struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "x-kind": $kind })
                }
            }
        )+};
    }

    text_schema! {
        Duration = "duration",
        Address = "address",
        Database = "database",
        Network = "network",
        Path = "path",
        Secret = "secret",
        Url = "url",
    }
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

    #[test]
    fn durations_have_bounds() {
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("30").is_err());
        assert!(parse_duration("11y").is_err());
        assert!(parse_duration("99999999999999999999s").is_err());
    }
}
