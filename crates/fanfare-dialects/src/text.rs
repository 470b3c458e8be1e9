//! Texts in messages, in the form of most protocols.

use std::borrow::Cow;

use fanfare_core::{Context, history::Resumption};

/// The longest part of a client's text in an error, in characters.
const MAX_SHOWN: usize = 100;

/// Returns the part of a client's text that an error shows, with `…` for the rest.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default() // a string always serialises
}

pub(crate) fn push_quoted(json: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(json, text);
}

/// Returns the answer to a resume as a further field of an object; empty without one.
pub(crate) fn resume_field(context: &Context<'_>) -> String {
    let field = |resumed: &Resumption| format!(r#","resume":{}"#, resumed.json());
    context.resumed.map(field).unwrap_or_default()
}
