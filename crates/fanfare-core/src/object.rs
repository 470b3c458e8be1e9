//! Reads the fields of a JSON object without a copy of their values, which keep their bytes.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::json::{MAX_DEPTH, deeper_than};

/// The reason why a text is not a [`RawObject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadObject {
    /// It is not one JSON value, is nested deeper than [`MAX_DEPTH`], or a field's name has a lone surrogate.
    #[error("not JSON, or nested deeper than {MAX_DEPTH}")]
    NotJson,
    /// It is JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
}

/// The fields of a JSON object in their order, including duplicates. Names and values borrow from the text.
///
/// ```
/// # use fanfare_core::{RawObject, string};
/// let frame = RawObject::parse(r#"{"type":"send","data":{"n": 1.10}}"#)?;
/// assert_eq!(frame.get("type").and_then(string).as_deref(), Some("send"));
/// assert_eq!(frame.get("data").map(|data| data.get()), Some(r#"{"n": 1.10}"#));
/// # Ok::<(), fanfare_core::BadObject>(())
/// ```
#[derive(Debug)]
pub struct RawObject<'a> {
    fields: FieldList<'a>,
}

type FieldList<'a> = SmallVec<[(Cow<'a, str>, &'a RawValue); 4]>;

impl<'a> RawObject<'a> {
    /// Parses `text`, which may have white space around the object and a byte order mark before it. For a nested
    /// object, pass its text ([`RawValue::get`]).
    ///
    /// # Errors
    /// If it is not JSON, is nested too deep, or is not an object.
    pub fn parse(text: &'a str) -> Result<Self, BadObject> {
        Self::parse_within(MAX_DEPTH, text)
    }

    /// Parses an object like [`RawObject::parse`], with `max_depth` as the limit of its nesting.
    ///
    /// # Errors
    /// Those of [`RawObject::parse`].
    pub fn parse_within(max_depth: usize, text: &'a str) -> Result<Self, BadObject> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader.deserialize_map(FieldsVisitor);
        match fields.and_then(|fields| reader.end().map(|()| fields)) {
            Ok(_) if deeper_than(max_depth, text.as_bytes()) => Err(BadObject::NotJson),
            Ok(fields) => Ok(Self { fields }),
            Err(_) => Err(error_of(max_depth, text)),
        }
    }

    /// Returns the value of the field `name`. Of duplicates it returns the last, like most JSON libraries.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut fields = self.fields.iter().rev();
        fields.find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// Returns the value of the field `name`; `None` for `null`, which many clients write for an empty field.
    pub fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }

    /// Returns the fields in their order, including duplicates.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, value)| (&**name, *value))
    }
}

/// Returns the string in `raw`, borrowed unless it has escapes; `None` for other values and for a lone surrogate.
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    // Without an escape, the JSON text between the quotes is the string itself.
    let unopened = raw.get().strip_prefix('"');
    if let Some(text) = unopened.and_then(|text| text.strip_suffix('"'))
        && !text.as_bytes().contains(&b'\\')
    {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(raw.get()).ok().map(|Text(text)| text)
}

/// Returns the error of a text that is not an object.
fn error_of(max_depth: usize, text: &str) -> BadObject {
    let is_other = !text.trim_ascii_start().starts_with('{');
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) if is_other && !deeper_than(max_depth, text.as_bytes()) => BadObject::NotAnObject,
        _ => BadObject::NotJson,
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = FieldList<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldList<'de>, A::Error> {
        let mut fields = FieldList::new();
        while let Some(Text(name)) = map.next_key()? {
            fields.push((name, map.next_value()?));
        }
        Ok(fields)
    }
}

/// A string that borrows unless it has escapes. Without `borrow`, serde copies every `Cow`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_bytes() {
        let text = " {\"a\" : 1.10, \"b\\u0021\":{\"x\" : [ ]},\"a\":\"\\u00e9\", \"\":null} ";
        let object = RawObject::parse(text).unwrap();
        let fields: Vec<_> = object
            .iter()
            .map(|(name, value)| (name.to_owned(), value.get()))
            .collect();
        let expected = [
            ("a", "1.10"),
            ("b!", r#"{"x" : [ ]}"#),
            ("a", r#""\u00e9""#),
            ("", "null"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in [
            ("a", Some(r#""\u00e9""#)),
            ("b!", Some(r#"{"x" : [ ]}"#)),
            ("", Some("null")),
            ("A", None),
        ] {
            assert_eq!(object.get(name).map(RawValue::get), value, "{name}");
        }
        assert_eq!(object.given("a").map(RawValue::get), Some(r#""\u00e9""#));
        assert!(object.given("").is_none() && object.given("A").is_none());
        assert!(matches!(&object.fields[0].0, Cow::Borrowed(_)));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let object = RawObject::parse("\u{feff}{\"a\":1}").unwrap();
        assert_eq!(object.get("a").map(RawValue::get), Some("1"));
    }

    #[test]
    fn other_texts_are_refused() {
        let nested = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(RawObject::parse(&nested(MAX_DEPTH - 1)).is_ok());
        let (too_deep, far_too_deep) = (nested(MAX_DEPTH), nested(100_000));
        let deep_list = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        for (text, expected) in [
            ("", BadObject::NotJson),
            ("nope", BadObject::NotJson),
            ("{", BadObject::NotJson),
            ("{} {}", BadObject::NotJson),
            (r#"{"a":01}"#, BadObject::NotJson),
            (r#"{"\ud83d":1}"#, BadObject::NotJson),
            (&too_deep, BadObject::NotJson),
            (&far_too_deep, BadObject::NotJson),
            (&deep_list, BadObject::NotJson),
            ("\u{feff}", BadObject::NotJson),
            ("\u{feff}\u{feff}{}", BadObject::NotJson),
            ("[]", BadObject::NotAnObject),
            ("\u{feff}[]", BadObject::NotAnObject),
            (" \"{}\" ", BadObject::NotAnObject),
            ("null", BadObject::NotAnObject),
            ("7", BadObject::NotAnObject),
        ] {
            assert_eq!(RawObject::parse(text).unwrap_err(), expected, "{text:.40}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        for (json, expected) in [
            (r#""""#, Some("")),
            (r#""plain""#, Some("plain")),
            (r#""a\"\u00e9""#, Some("a\"\u{e9}")),
            (r#""\ud83d""#, None),
            ("7", None),
            ("null", None),
            (r#"["a"]"#, None),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(string(raw).as_deref(), expected, "{json}");
        }
    }
}
