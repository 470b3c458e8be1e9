//! Durations as texts: `"500ms"`, `"30s"`, `"1h 30m"`.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The maximum duration of a setting: longer than any setting needs, and too short to overflow a clock.
pub const LONGEST: Duration = Duration::from_millis(LONGEST_MS);
const LONGEST_MS: u64 = 3650 * 24 * 3600 * 1000;

/// The text form of a [`Duration`] in a setting, with bounds in milliseconds: `#[serde(with = "DurationText::<1>")]`.
pub struct DurationText<const MIN_MS: u64 = 0, const MAX_MS: u64 = LONGEST_MS>;

impl<const MIN_MS: u64, const MAX_MS: u64> DurationText<MIN_MS, MAX_MS> {
    /// Serializes a duration.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*value))
    }

    /// Deserializes a duration.
    ///
    /// # Errors
    /// If the text is not a duration or out of bounds.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let found = parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)?;
        let bounds = Duration::from_millis(MIN_MS)..=Duration::from_millis(MAX_MS);
        if bounds.contains(&found) {
            return Ok(found);
        }
        Err(D::Error::custom("out of bounds"))
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> JsonSchema for DurationText<MIN_MS, MAX_MS> {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "x-kind": "duration" });
        if MIN_MS > 0 {
            schema.insert("x-minimum".to_owned(), text(MIN_MS).into());
        }
        if MAX_MS < LONGEST_MS {
            schema.insert("x-maximum".to_owned(), text(MAX_MS).into());
        }
        schema
    }
}

fn text(milliseconds: u64) -> String {
    format_duration(Duration::from_millis(milliseconds))
}

/// Parses a duration such as `30s`, `1h 30m` or `500ms`.
///
/// # Errors
/// If the text is not a duration, or longer than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("longer than ten years".to_owned()),
        Err(reason) => Err(reason.to_string()),
    }
}

/// Formats a duration in the largest unit with a whole number: `1h`, `90s`, `1500ms`.
pub fn format_duration(duration: Duration) -> String {
    if duration.subsec_nanos() != 0 {
        return humantime::format_duration(duration).to_string();
    }
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_within_their_bounds() {
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("30").is_err());
        assert!(parse_duration("11y").is_err());
        assert!(parse_duration("99999999999999999999s").is_err());
    }
}
