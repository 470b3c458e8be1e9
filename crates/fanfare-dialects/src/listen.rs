//! What `fanfare listen` reads in the messages of several dialects.

use std::borrow::Cow;

use fanfare_core::{MAX_DEPTH, RawObject, string};
use serde_json::value::RawValue;

/// Returns a message's type and its fields. The data of an event may be as deep as any, and is inside of them.
pub(crate) fn message(text: &str) -> Option<(Cow<'_, str>, RawObject<'_>)> {
    let fields = object(text)?;
    let kind = string(fields.get("type")?)?;
    Some((kind, fields))
}

/// Returns the object in a field.
pub(crate) fn inside<'a>(fields: &RawObject<'a>, name: &str) -> Option<RawObject<'a>> {
    object(fields.get(name)?.get())
}

/// Returns the text in a field; empty if there is none.
pub(crate) fn text<'a>(fields: &RawObject<'a>, name: &str) -> Cow<'a, str> {
    fields.get(name).and_then(string).unwrap_or_default()
}

/// Returns the value in a field as it is written, such as a number.
pub(crate) fn written<'a>(fields: &RawObject<'a>, name: &str) -> &'a str {
    fields.get(name).map_or("", RawValue::get)
}

fn object(text: &str) -> Option<RawObject<'_>> {
    RawObject::parse_within(MAX_DEPTH + 2, text).ok()
}
