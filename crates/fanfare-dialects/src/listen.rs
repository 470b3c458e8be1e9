//! Helpers to parse the messages that `fanfare listen` receives.

use std::borrow::Cow;

use fanfare_core::{MAX_DEPTH, RawObject, string};
use serde_json::value::RawValue;

/// Returns the type and the fields of a message. An event's data, of any permitted depth, may be two levels deep in it.
pub(crate) fn message(text: &str) -> Option<(Cow<'_, str>, RawObject<'_>)> {
    let fields = object(text)?;
    let kind = string(fields.get("type")?)?;
    Some((kind, fields))
}

/// Returns the object in a field.
pub(crate) fn nested<'a>(fields: &RawObject<'a>, name: &str) -> Option<RawObject<'a>> {
    object(fields.get(name)?.get())
}

/// Returns the text in a field; empty if there is none.
pub(crate) fn text<'a>(fields: &RawObject<'a>, name: &str) -> Cow<'a, str> {
    fields.get(name).and_then(string).unwrap_or_default()
}

/// Returns the `code` and the `message` of an error, such as `403 Forbidden`.
pub(crate) fn coded(error: &RawObject<'_>) -> String {
    let code = error.get("code").map_or("", RawValue::get);
    format!("{code} {}", text(error, "message"))
}

fn object(text: &str) -> Option<RawObject<'_>> {
    RawObject::parse_within(MAX_DEPTH + 2, text).ok()
}
