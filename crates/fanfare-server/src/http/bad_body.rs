//! Finds the reason why a body is not JSON. No text quotes the body.

use std::borrow::Cow;

use fanfare_core::{MAX_DEPTH, deeper_than, without_mark};
use http::StatusCode;
use serde::de::IgnoredAny;

/// The refusal of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadBody {
    pub(super) status: StatusCode,
    pub(super) message: Cow<'static, str>,
}

impl BadBody {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { status, message }
    }
}

/// Returns why `body` is not JSON within the limit of nesting; `None` if it is. `is_form` is set if its `Content-Type` is a form's.
pub(super) fn find(body: &[u8], is_form: bool) -> Option<BadBody> {
    let text = without_mark(body);
    let is_utf8 = std::str::from_utf8(text).is_ok();
    let not_utf8 = || bad("the body is not UTF-8, expected JSON in UTF-8");
    let error = match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(_) if is_utf8 => {
            let is_too_deep = deeper_than(MAX_DEPTH, text);
            return is_too_deep.then(|| bad(format!("the body is nested deeper than {MAX_DEPTH}")));
        }
        Ok(_) => return Some(not_utf8()),
        Err(error) => error,
    };
    let of_another_type = |message: &'static str| BadBody::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    Some(match body {
        _ if text.trim_ascii().is_empty() => bad("the body is empty, expected JSON"),
        [0x1f, 0x8b, ..] => of_another_type("the body is compressed (gzip), expected plain JSON"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            of_another_type("the body is UTF-16 or UTF-32, expected JSON in UTF-8")
        }
        _ if !is_utf8 => not_utf8(),
        _ if is_form => of_another_type("the body is a form, expected JSON"),
        _ => bad(format!("the body is not JSON: {error}")),
    })
}

fn bad(message: impl Into<Cow<'static, str>>) -> BadBody {
    BadBody::new(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_names_the_form_of_the_body() {
        let utf16 = |to: fn(u16) -> [u8; 2]| -> Vec<u8> { "{\"a\":1}".encode_utf16().flat_map(to).collect() };
        let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
        let deep = [vec![b'['; MAX_DEPTH + 1], vec![b']'; MAX_DEPTH + 1]].concat();
        let cases: Vec<(Vec<u8>, u16, &str)> = vec![
            (b"".into(), 400, "empty"),
            (b" \n".into(), 400, "empty"),
            (b"\xef\xbb\xbf".into(), 400, "empty"),
            (b"\x1f\x8b\x08\0\0\0".into(), 415, "gzip"),
            (utf16(u16::to_le_bytes), 415, "UTF-16"),
            (utf16(u16::to_be_bytes), 415, "UTF-16"),
            (marked(b"\xff\xfe", utf16(u16::to_le_bytes)), 415, "UTF-16"),
            (marked(b"\xfe\xff", utf16(u16::to_be_bytes)), 415, "UTF-16"),
            (b"{\"a\":\"\xe9\"}".into(), 400, "not UTF-8"),
            (deep, 400, "deeper"),
            (b"nope".into(), 400, ": expected ident at line 1 column 2"),
            (
                b"{\"secret\":1,\n\"x\":}".into(),
                400,
                ": expected value at line 2 column 5",
            ),
            (
                b"{\"a\":1} x".into(),
                400,
                ": trailing characters at line 1 column 9",
            ),
            (
                b"{\"a\"".into(),
                400,
                ": EOF while parsing an object at line 1 column 4",
            ),
        ];
        for (body, status, text) in cases {
            let found = find(&body, false);
            let found = found.map(|bad| (bad.status.as_u16(), bad.message.contains(text)));
            assert_eq!(found, Some((status, true)), "{body:?}");
        }
        for body in [&b"{}"[..], b"\xef\xbb\xbf{}", b"[1]"] {
            assert_eq!(find(body, false), None);
        }
    }

    #[test]
    fn forms() {
        let form = find(b"message=hi", true);
        assert!(form.is_some_and(|bad| bad.status == StatusCode::UNSUPPORTED_MEDIA_TYPE));
        // curl's default `Content-Type` for `-d`.
        assert_eq!(find(b"{\"message\":\"hi\"}", true), None);
    }
}
