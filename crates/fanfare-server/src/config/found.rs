//! Values as they were found: in TOML, with their lines, or as the plain text of a variable or a flag.

use toml::de::DeValue;

use super::types::without_line_ends;

pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Boolean(_) => "a boolean",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Datetime(_) => "a date",
        DeValue::String(text) if text.is_empty() => "an empty text",
        DeValue::String(_) => "a text (not shown)",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Returns the value as an error message shows it. Long texts are cut.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Integer(number) => shortened(&number.to_string()),
        DeValue::Float(number) => shortened(&number.to_string()),
        DeValue::Datetime(date) => shortened(&date.to_string()),
        DeValue::String(text) => quoted(text),
        DeValue::Array(_) | DeValue::Table(_) => type_name(value).to_owned(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads `true`, `1`, `false` or `0`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Returns the value of a variable, without trailing line ends. An empty one counts as not set.
pub(super) fn variable<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = env.iter().rev().find(|(known, _)| known == name)?;
    let value = without_line_ends(value);
    (!value.is_empty()).then_some(value)
}

/// The offsets at which the lines of a text begin.
#[derive(Default)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        Self(ends.map(|end| end + 1).collect())
    }

    /// Returns the line of a byte, counted from 1.
    pub(super) fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}
