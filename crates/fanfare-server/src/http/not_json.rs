//! Finds out why a body is not JSON, to help the caller. It runs only after a body was refused, and its texts never
//! quote the body.

use fanfare_core::{MAX_DEPTH, deeper_than, without_mark};
use http::StatusCode;
use serde::de::IgnoredAny;

/// Why a body is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotJson {
    #[error("the body is empty, expected JSON")]
    Empty,
    /// It is gzip, whatever its headers say.
    #[error("the body is compressed (gzip), expected plain JSON")]
    Compressed,
    #[error("the body is UTF-16 or UTF-32, expected JSON in UTF-8")]
    Utf16,
    #[error("the body is not UTF-8, expected JSON in UTF-8")]
    NotUtf8,
    /// Its `Content-Type` is that of a form.
    #[error("the body is a form, expected JSON")]
    Form,
    #[error("the body is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The parser's message, with line and column.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
}

impl NotJson {
    /// Returns why `body` is not JSON within the limit of nesting; `None` if it is.
    pub(super) fn find(body: &[u8], is_form: bool) -> Option<Self> {
        let text = without_mark(body);
        let is_utf8 = std::str::from_utf8(text).is_ok();
        let error = match serde_json::from_slice::<IgnoredAny>(text) {
            Ok(_) if is_utf8 => return deeper_than(MAX_DEPTH, text).then_some(Self::TooDeep),
            Ok(_) => return Some(Self::NotUtf8),
            Err(error) => error,
        };
        Some(match body {
            _ if text.trim_ascii().is_empty() => Self::Empty,
            [0x1f, 0x8b, ..] => Self::Compressed,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Self::Utf16,
            _ if !is_utf8 => Self::NotUtf8,
            _ if is_form => Self::Form,
            _ => Self::Syntax(error.to_string()),
        })
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Compressed | Self::Utf16 | Self::Form => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Empty | Self::NotUtf8 | Self::TooDeep | Self::Syntax(_) => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_is_in_place_of_json() {
        let utf16 = |to: fn(u16) -> [u8; 2]| -> Vec<u8> { "{\"a\":1}".encode_utf16().flat_map(to).collect() };
        let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
        let deep = [vec![b'['; MAX_DEPTH + 1], vec![b']'; MAX_DEPTH + 1]].concat();
        let syntax = |text: &str| Some(NotJson::Syntax(text.to_owned()));
        let cases: Vec<(Vec<u8>, Option<NotJson>)> = vec![
            (b"{}".into(), None),
            (b"\xef\xbb\xbf{}".into(), None),
            (b"[1]".into(), None),
            (b"".into(), Some(NotJson::Empty)),
            (b" \n".into(), Some(NotJson::Empty)),
            (b"\xef\xbb\xbf".into(), Some(NotJson::Empty)),
            (b"\x1f\x8b\x08\0\0\0".into(), Some(NotJson::Compressed)),
            (utf16(u16::to_le_bytes), Some(NotJson::Utf16)),
            (utf16(u16::to_be_bytes), Some(NotJson::Utf16)),
            (marked(b"\xff\xfe", utf16(u16::to_le_bytes)), Some(NotJson::Utf16)),
            (marked(b"\xfe\xff", utf16(u16::to_be_bytes)), Some(NotJson::Utf16)),
            (b"{\"a\":\"\xe9\"}".into(), Some(NotJson::NotUtf8)),
            (deep, Some(NotJson::TooDeep)),
            (b"nope".into(), syntax("expected ident at line 1 column 2")),
            (
                b"{\"secret\":1,\n\"x\":}".into(),
                syntax("expected value at line 2 column 5"),
            ),
            (
                b"{\"a\":1} x".into(),
                syntax("trailing characters at line 1 column 9"),
            ),
            (
                b"{\"a\"".into(),
                syntax("EOF while parsing an object at line 1 column 4"),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(NotJson::find(&body, false), expected, "{body:?}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(NotJson::find(b"message=hi", true), Some(NotJson::Form));
        // curl's default `Content-Type` for `-d`.
        assert_eq!(NotJson::find(b"{\"message\":\"hi\"}", true), None);
    }
}
