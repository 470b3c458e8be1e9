//! Raw JSON: checked bytes of one JSON value, which are never re-serialised.

use std::fmt;

use bytes::Bytes;

/// The maximum nesting of arrays and objects. The server refuses deeper JSON everywhere.
pub const MAX_DEPTH: usize = 128;

/// The byte order mark of UTF-8. Some programs write it before JSON, although it is no part of the value.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Returns `bytes` without a leading byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes)
}

/// The bytes are not one JSON value in UTF-8, or are nested deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON value, or nested deeper than {MAX_DEPTH}")]
pub struct NotJson;

/// One JSON value in the bytes of its publisher, with the order of keys, the form of numbers and all escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Parses `bytes` as one JSON value, without surrounding white space and byte order mark.
    ///
    /// # Errors
    /// If they are not, or are nested too deep.
    pub fn parse(bytes: &Bytes) -> Result<Self, NotJson> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_slice(without_mark(bytes)).map_err(|_| NotJson)?;
        Self::slice(bytes, raw)
    }

    /// Returns `raw` as a slice of `whole`. Copies a `raw` that does not borrow from it.
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

    /// Returns a copy of `raw`, for text that is not in [`Bytes`].
    ///
    /// # Errors
    /// If it is nested too deep.
    pub fn from_raw(raw: &serde_json::value::RawValue) -> Result<Self, NotJson> {
        Self::slice(&Bytes::new(), raw)
    }

    /// Returns `value` as JSON.
    pub fn of(value: &serde_json::Value) -> Self {
        Self(Bytes::from(value.to_string()))
    }

    /// Returns a copy, for values that are stored: a slice keeps the whole received buffer in memory.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Returns `true` if it is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with(b"{")
    }

    /// Returns the value's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the value's text.
    pub fn as_str(&self) -> &str {
        // The constructors checked it. An empty text would be a bug, but harmless.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for RawJson {
    /// Shows only the size: published data must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

/// Returns `true` if the valid JSON `text` is nested deeper than `max`. Few texts have so many brackets, so a count of
/// these avoids most scans.
pub fn deeper_than(max: usize, text: &[u8]) -> bool {
    let opening = || text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    text.len() > max && opening() > max && depth(text) > max
}

fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
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
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
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
    fn bytes_are_kept() {
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
    fn copies_are_checked() {
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
    fn objects_are_detected() {
        for (text, expected) in [(" {} ", true), ("[{}]", false), ("\"{\"", false), ("null", false)] {
            let json = RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).expect("JSON");
            assert_eq!(json.is_object(), expected, "{text}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
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
