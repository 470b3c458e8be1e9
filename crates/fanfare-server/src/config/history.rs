//! The settings of `[history]`: the events kept for users and for everyone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fanfare_core::history::{MAX_HISTORY_SIZE, MAX_HISTORY_TTL_MS, REPLAY_LIMIT, Retention};
use fanfare_core::{DurationText, serde_as_text};
use fanfare_transports::{MAX_FETCHED, MAX_JOURNALS, MAX_WATCHED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// Events that are kept for clients that reconnect.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// The retention of each user's events.
    pub users: AudienceHistory,

    /// The retention of the events for everyone.
    pub everyone: AudienceHistory,

    /// With the memory broker, the memory limit of all kept events together, such as `64MiB`. Above it, the oldest
    /// events are evicted.
    #[default(ByteSize(64 << 20))]
    pub max_bytes: ByteSize,

    /// The maximum number of events that one resume or rewind replays. A client that missed more receives none of them,
    /// and the reason `limit`.
    #[schemars(range(min = 1, max = 100_000))]
    #[default(REPLAY_LIMIT)]
    pub replay_limit: usize,

    /// With Redis, the maximum number of channels and users with a history. Above it, the histories of the least recently
    /// active are evicted, and their clients start without one. Set the same number on all nodes.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[default(MAX_JOURNALS)]
    pub max_journals: usize,

    /// With Redis or NATS, the maximum number of channels and users that a node watches for lost events. It does not
    /// detect losses on others.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[default(MAX_WATCHED)]
    pub max_watched: usize,

    /// With Redis or NATS, the maximum number of missed events that a node fetches at once. If it has missed more, it
    /// notifies its clients.
    #[schemars(range(min = 1, max = 100_000))]
    #[default(MAX_FETCHED)]
    pub max_fetched: usize,
}

/// The retention of one audience.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AudienceHistory {
    /// The number of newest events that are kept. 0 keeps none.
    #[schemars(range(max = MAX_HISTORY_SIZE))]
    pub size: u32,

    /// The time for which they are kept.
    #[serde(with = "DurationText::<1000, MAX_HISTORY_TTL_MS>")]
    #[default(Duration::from_secs(600))]
    pub ttl: Duration,
}

impl AudienceHistory {
    /// Returns the retention; `None` if nothing is kept.
    pub fn retention(&self) -> Option<Retention> {
        let (size, ttl) = (self.size, self.ttl);
        (size > 0).then_some(Retention { size, ttl })
    }
}

/// A number of bytes, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("x-kind" = "size"))]
pub struct ByteSize(pub usize);

/// The units, the largest first.
const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const LEAST: usize = 64 << 10;
const MOST: usize = 1 << 40;

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        let number: Option<usize> = number.parse().ok();
        match number
            .zip(unit)
            .and_then(|(number, (_, unit))| number.checked_mul(*unit))
        {
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
    }
}
