//! The printed forms of the configuration, all made from the same declarations: the example file, the effective
//! values, the reference, the JSON schema.

mod example;
mod reference;
mod show;

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::{GuardedUrl, HIDDEN};
use toml::Value;

use super::dialect::DialectInfo;
use super::kind::{Form, Kind};
use super::schema::Schema;

pub use example::example;
#[cfg(test)]
pub(super) use example::switched_on;
pub use reference::reference;
pub use show::show;

/// The JSON schema of the file, for editors.
pub fn json_schema(dialects: &[DialectInfo]) -> String {
    let mut json = Schema::new(dialects).json;
    json.sort_all_objects();
    let text = serde_json::to_string_pretty(&json).unwrap_or_default();
    format!("{text}\n")
}

/// A value as TOML on one line, without what a secret or a URL guards.
fn guarded(kind: &Kind, value: &Value) -> String {
    fn hide(kind: &Kind, value: &Value) -> Value {
        match (kind, value) {
            (_, Value::String(text)) if text.is_empty() => value.clone(),
            (
                Kind::Text {
                    form: Form::Secret, ..
                },
                _,
            ) => Value::from(HIDDEN),
            (Kind::Text { form: Form::Url, .. }, Value::String(text)) => {
                let url = text.parse::<GuardedUrl>();
                Value::from(url.map_or_else(|_| HIDDEN.to_owned(), |url| url.to_string()))
            }
            (
                Kind::Text {
                    form: Form::Database, ..
                },
                Value::String(text),
            ) => {
                let url = text.parse::<StorageUrl>();
                Value::from(url.map_or_else(|_| HIDDEN.to_owned(), |url| url.to_string()))
            }
            (Kind::List(item), Value::Array(values)) => {
                Value::Array(values.iter().map(|value| hide(item, value)).collect())
            }
            _ => value.clone(),
        }
    }
    hide(kind, value).to_string()
}

/// Cuts a text into lines of at most `width` characters. An empty line parts paragraphs.
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
