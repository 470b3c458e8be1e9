//! The settings of history: how much is kept of users and of everyone, and of the channels of a rule.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fanfare_core::DurationText;
use fanfare_core::history::{REPLAY_LIMIT, Retention};
use fanfare_transports::{MAX_FETCHED, MAX_JOURNALS, MAX_WATCHED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::types::serde_as_text;

/// The longest `ttl`, in milliseconds: [`fanfare_core::history::MAX_HISTORY_TTL`].
const MAX_TTL_MS: u64 = 30 * 24 * 3_600_000;

/// Events that are kept for clients that were away.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// How much is kept of the events for each user.
    pub users: AudienceHistory,

    /// How much is kept of the events for everyone.
    pub everyone: AudienceHistory,

    /// With the memory broker, how much memory all kept events may take together, such as `64MiB`. Above it, the oldest
    /// events go first.
    #[default(ByteSize(64 << 20))]
    pub max_bytes: ByteSize,

    /// The most events that one resume or rewind brings. A client that missed more is told so and receives none of them.
    #[schemars(range(min = 1, max = 100_000))]
    #[default(REPLAY_LIMIT)]
    pub replay_limit: usize,

    /// With Redis, of how many channels and users the history is known. Above it, those that were silent for longest are
    /// forgotten, and their clients start anew. The same on all nodes.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[default(MAX_JOURNALS)]
    pub max_journals: usize,

    /// With Redis or NATS, how many channels and users a node watches for events that were lost on the way. What is lost of
    /// others is not noticed.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[default(MAX_WATCHED)]
    pub max_watched: usize,

    /// With Redis or NATS, the most events that a node fetches where it has missed some. If it has missed more, its clients are
    /// told so.
    #[schemars(range(min = 1, max = 100_000))]
    #[default(MAX_FETCHED)]
    pub max_fetched: usize,
}

/// How much is kept of one audience.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AudienceHistory {
    /// The newest events that are kept. 0 keeps none.
    #[schemars(range(max = 100_000))]
    pub size: u32,

    /// How long they are kept.
    #[serde(with = "DurationText::<1000, MAX_TTL_MS>")]
    #[default(Duration::from_secs(600))]
    pub ttl: Duration,
}

impl AudienceHistory {
    /// Returns how much is kept; `None` for nothing.
    pub fn retention(&self) -> Option<Retention> {
        let (size, ttl) = (self.size, self.ttl);
        (size > 0).then_some(Retention { size, ttl })
    }
}

/// How much is kept of each channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelHistory {
    /// The newest events that are kept.
    #[schemars(range(min = 1, max = 100_000))]
    pub size: u32,

    /// How long they are kept.
    #[serde(with = "DurationText::<1000, MAX_TTL_MS>")]
    pub ttl: Duration,
}

impl ChannelHistory {
    /// Returns it for the policy.
    pub fn retention(&self) -> Retention {
        let (size, ttl) = (self.size, self.ttl);
        Retention { size, ttl }
    }
}

/// A number of bytes, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("x-kind" = "size"))]
pub struct ByteSize(pub usize);

/// The units, the largest first.
const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// The least and the most that a setting may be.
const LEAST: usize = 64 << 10;
const MOST: usize = 1 << 40;

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .map(|(_, bytes)| *bytes);
        let bytes = number
            .parse::<usize>()
            .ok()
            .zip(unit)
            .and_then(|(number, unit)| number.checked_mul(unit));
        match bytes {
            Some(bytes) if (LEAST..=MOST).contains(&bytes) => Ok(Self(bytes)),
            Some(_) => Err(format!("from {} to {}", Self(LEAST), Self(MOST))),
            None => Err(String::new()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, usize)| self.0.is_multiple_of(*bytes);
        let (name, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

serde_as_text!(ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, bytes, written) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1024 KiB", 1 << 20, "1MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("65537B", 65537, "65537B"),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written));
        }
        for bad in [
            "",
            "64",
            "MiB",
            "-1MiB",
            "1.5MiB",
            "64MB",
            "1KiB",
            "9999999999999999999GiB",
            "2000GiB",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(
            u128::from(MAX_TTL_MS),
            fanfare_core::history::MAX_HISTORY_TTL.as_millis()
        );
    }
}
