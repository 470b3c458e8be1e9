//! Removes the fields about the sender from a client's metadata, because only the server sets them.

use bytes::Bytes;
use fanfare_core::{RawJson, RawObject};

pub(super) const SENDER: &str = "senderId";
pub(super) const CONNECTION: &str = "senderConnectionId";

/// Returns the JSON object `text` without the two fields, however their names are escaped.
pub(super) fn without_sender(text: &str) -> Result<RawJson, &'static str> {
    if !text.starts_with('{') {
        return Err("must be an object");
    }
    let object = members(text).map(|members| Bytes::from(format!("{{{members}}}")));
    let object = object.and_then(|object| RawJson::parse(&object).ok());
    object.ok_or("field names must be Unicode text")
}

/// Returns the text between the braces of the object `text`, without the two fields.
pub(super) fn members(text: &str) -> Option<String> {
    let object = RawObject::parse(text).ok()?;
    let inside = text.trim_ascii().strip_prefix('{')?.strip_suffix('}')?;
    if object.iter().all(|(name, _)| is_other(name)) {
        return Some(inside.to_owned());
    }
    let mut kept = Vec::new();
    let mut rest = inside;
    for (name, value) in object.iter() {
        // The values borrow from `text`, so the end of a value is the end of its member.
        let end = (value.get().as_ptr() as usize + value.get().len()).checked_sub(rest.as_ptr() as usize)?;
        let (member, after) = rest.split_at_checked(end)?;
        if is_other(name) {
            kept.push(member);
        }
        rest = after.split_once(',').map_or("", |(_, next)| next);
    }
    Some(kept.join(","))
}

fn is_other(name: &str) -> bool {
    name != SENDER && name != CONNECTION
}
