//! Raw JSON: bytes known to be one JSON value, carried as they arrived and never re-serialised.

use std::fmt;

use bytes::Bytes;

/// The deepest nesting of arrays and objects; every part of the server refuses deeper JSON.
pub const MAX_DEPTH: usize = 128;

/// UTF-8's byte order mark. Some editors and libraries write it before JSON; it is no part of the value.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Returns `bytes` without a leading byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes)
}

/// The bytes are not one JSON value in UTF-8, or it is nested deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON value, or nested deeper than {MAX_DEPTH}")]
pub struct NotJson;

/// One JSON value as its publisher wrote it: key order, number spelling and escapes survive.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Checks that `bytes` are one JSON value, and keeps them without surrounding white space and byte order mark.
    ///
    /// # Errors
    /// If they are not, or are nested too deep.
    pub fn parse(bytes: &Bytes) -> Result<Self, NotJson> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_slice(without_mark(bytes)).map_err(|_| NotJson)?;
        Self::slice(bytes, raw)
    }

    /// Keeps the part of `whole` that `raw` was parsed from, without a copy; copies a `raw` that does not borrow from
    /// it.
    ///
    /// # Errors
    /// If it is nested too deep.
    pub fn slice(whole: &Bytes, raw: &serde_json::value::RawValue) -> Result<Self, NotJson> {
        let text = raw.get().trim_ascii().as_bytes();
        if deeper_than(MAX_DEPTH, text) {
            return Err(NotJson);
        }
        let inside = whole.as_ptr_range().start <= text.as_ptr()
            && text.as_ptr_range().end <= whole.as_ptr_range().end;
        Ok(Self(if inside {
            whole.slice_ref(text)
        } else {
            Bytes::copy_from_slice(text)
        }))
    }

    /// Copies `raw`, for text that is not in [`Bytes`], such as a client's message.
    ///
    /// # Errors
    /// If it is nested too deep.
    pub fn from_raw(raw: &serde_json::value::RawValue) -> Result<Self, NotJson> {
        Self::slice(&Bytes::new(), raw)
    }

    /// Writes `value` as JSON.
    pub fn of(value: &serde_json::Value) -> Self {
        Self(Bytes::from(value.to_string()))
    }

    /// Returns a copy in its own memory, for values that are kept: a slice keeps the whole buffer that it arrived in.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Returns whether it is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with(b"{")
    }

    /// Returns the value's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the value's text.
    pub fn as_str(&self) -> &str {
        // Checked at construction. The empty string would be a bug, and harmless.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for RawJson {
    /// Shows the size only: published data never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

/// Returns whether valid JSON `text` is nested deeper than `most`, which needs as many openers; few values have them.
pub fn deeper_than(most: usize, text: &[u8]) -> bool {
    let openers = || text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    text.len() > most && openers() > most && depth(text) > most
}

fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        RawJson::parse(&Bytes::copy_from_slice(text.as_bytes()))
            .ok()
            .map(|json| json.as_str().to_owned())
    }

    #[test]
    fn bytes_survive() {
        for text in [
            r#"{"b":1,"a":2}"#,
            "12345678901234567890123",
            "1.10",
            r#""\u00e9\ud83d""#,
            r#"{"a" : [ 1 , 2 ]}"#,
            "null",
        ] {
            assert_eq!(parse(text).as_deref(), Some(text));
        }
        assert_eq!(parse(" \n{} ").as_deref(), Some("{}"));
        assert_eq!(parse("\u{feff} {} ").as_deref(), Some("{}"));
    }

    #[test]
    fn copies_are_checked_too() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for (text, expected) in [
            (r#"{"a" : 1.10}"#.to_owned(), true),
            (nested(MAX_DEPTH), true),
            (nested(MAX_DEPTH + 1), false),
        ] {
            let raw: &serde_json::value::RawValue = serde_json::from_str(&text).expect("JSON");
            let copy = RawJson::from_raw(raw).ok();
            assert_eq!(copy.as_ref().map(RawJson::as_str), expected.then_some(&*text));
        }
    }

    #[test]
    fn objects_are_known() {
        for (text, expected) in [(" {} ", true), ("[{}]", false), ("\"{\"", false), ("null", false)] {
            let json = RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).expect("JSON");
            assert_eq!(json.is_object(), expected, "{text}");
        }
    }

    #[test]
    fn not_json() {
        for text in [
            "",
            "{",
            "nope",
            "{} {}",
            r#"{"a":01}"#,
            "\u{0}",
            "\u{feff}",
            "\u{feff}\u{feff}{}",
            "{}\u{feff}",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(RawJson::parse(&Bytes::from_static(b"\"\xff\"")), Err(NotJson));
    }

    #[test]
    fn depth_is_limited() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(&nested(MAX_DEPTH)).is_some());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_none());
        assert!(parse(&nested(100_000)).is_none());
        assert!(parse(r#""[[[[\"[[""#).is_some());
        assert_eq!(depth(br#"{"[[[":["\\"]}"#), 2);
    }
}
