//! The fields of one JSON object, read without copying or interpreting their values, which so keep their bytes.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::json::{MAX_DEPTH, deeper_than};

/// Why a text is not a [`RawObject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadObject {
    /// It is not one JSON value, is nested deeper than [`MAX_DEPTH`], or a field's name has a lone surrogate.
    #[error("not JSON, or nested deeper than {MAX_DEPTH}")]
    NotJson,
    /// It is JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
}

/// One JSON object's fields in their order, duplicates included. Names and values borrow from the text.
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
    /// Reads `text`, which may have white space around the object and a byte order mark before it. Pass the
    /// text of a nested object ([`RawValue::get`]) to this function again.
    ///
    /// # Errors
    /// If it is not JSON, is nested too deep, or is not an object.
    pub fn parse(text: &'a str) -> Result<Self, BadObject> {
        Self::parse_within(MAX_DEPTH, text)
    }

    /// Like [`RawObject::parse`], for an object that wraps others and may be nested `most` deep.
    ///
    /// # Errors
    /// As [`RawObject::parse`].
    pub fn parse_within(most: usize, text: &'a str) -> Result<Self, BadObject> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut fields = FieldList::new();
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = FieldsSeed(&mut fields).deserialize(&mut reader);
        match read.and_then(|()| reader.end()) {
            Ok(()) if deeper_than(most, text.as_bytes()) => Err(BadObject::NotJson),
            Ok(()) => Ok(Self { fields }),
            Err(_) => Err(what_else(most, text)),
        }
    }

    /// Returns the value of the field `name`; of duplicates the last, as nearly every JSON library does.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut fields = self.fields.iter().rev();
        fields.find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// Returns the value of the field `name`, unless it is `null`, as many clients write for an empty field.
    pub fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }

    /// Returns the fields in their order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, value)| (&**name, *value))
    }
}

/// Returns the string that `raw` holds, borrowed unless it has escapes; `None` for others and for a lone surrogate.
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

fn what_else(most: usize, text: &str) -> BadObject {
    let is_other = !text.trim_ascii_start().starts_with('{');
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) if is_other && !deeper_than(most, text.as_bytes()) => BadObject::NotAnObject,
        _ => BadObject::NotJson,
    }
}

struct FieldsSeed<'list, 'a>(&'list mut FieldList<'a>);

impl<'de> DeserializeSeed<'de> for FieldsSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldsSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            self.0.push((name, map.next_value()?));
        }
        Ok(())
    }
}

/// A string that borrows unless it has escapes (a plain `Cow` would always copy).
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn fields_come_as_they_were_written() {
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
    fn what_is_no_object() {
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
    fn strings() {
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
