//! Reading the fields of one JSON object without copying or interpreting their values.

use std::{borrow::Cow, fmt};

use fanfare_core::{MAX_DEPTH, NotJson, RawJson};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The text of `bytes`, if they are one JSON value of legal depth as far as can be told without parsing it.
pub(super) fn shallow_text(bytes: &bytes::Bytes) -> Result<&str, NotJson> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotJson)?;
    // Nothing is deeper than it has openers, and few messages have that many.
    let openers = || bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if bytes.len() > MAX_DEPTH && openers() > MAX_DEPTH {
        RawJson::parse(bytes)?;
    }
    Ok(text)
}

/// An object's fields as they came, in order, doubles included.
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(4);
        while let Some(Key(key)) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(Fields(fields))
    }
}

/// A key that borrows unless it has escapes (a plain `Cow` would always copy).
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
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

/// The string that `raw` is, if it is one.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw.get()).ok().map(|Key(text)| text)
}
