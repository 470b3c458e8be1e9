//! The printed forms of the configuration, all from the same declarations.

mod example;
mod reference;
mod show;

use fanfare_core::Registry;
use toml::Value;

use super::kind::Kind;
use super::schema::Schema;

pub use example::example;
#[cfg(test)]
pub(super) use example::switched_on;
pub use reference::reference;
pub use show::{Setting, settings, show};

/// Returns the JSON schema of the file, for editors.
pub fn json_schema(registry: Registry) -> String {
    let text = serde_json::to_string_pretty(&Schema::new(registry).json).unwrap_or_default();
    format!("{text}\n")
}

/// Returns a value as TOML on one line, without secrets.
fn guarded(kind: Kind<'_>, value: &Value) -> String {
    let hide = |value: &Value| match (kind.guard(), value) {
        (Some(guard), Value::String(text)) if !text.is_empty() => Value::from(guard(text)),
        _ => value.clone(),
    };
    match value {
        Value::Array(items) => Value::Array(items.iter().map(hide).collect()).to_string(),
        value => hide(value).to_string(),
    }
}

/// Splits a text into lines of at most `width` characters. An empty line separates paragraphs.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
