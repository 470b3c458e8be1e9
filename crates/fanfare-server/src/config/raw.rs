//! Values as they were found, before anything is known of them: from TOML with their lines, or from plain text.

use std::fmt;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::kind::Kind;

/// A value as it was found.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Bool(bool),
    Integer(i64),
    /// A number that no setting takes: with a fraction, or out of all bounds.
    Number(String),
    Date(String),
    Text(String),
    List(Vec<Item>),
    Table(Vec<Entry>),
}

/// A value and the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) raw: Raw,
    pub(super) line: usize,
}

/// A key, the line on which it stands, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) item: Item,
}

impl Raw {
    /// The value, if it is a single one.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Bool(value) => Some(Value::Boolean(*value)),
            Self::Integer(value) => Some(Value::Integer(*value)),
            Self::Text(value) => Some(Value::String(value.clone())),
            Self::Number(_) | Self::Date(_) | Self::List(_) | Self::Table(_) => None,
        }
    }

    /// What it is, without what it says.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Date(_) => "a date",
            Self::Text(text) if text.is_empty() => "an empty text",
            Self::Text(_) => "a text (not shown)",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Reads a TOML value that stands alone.
    pub(super) fn from_toml(text: &str) -> Option<Self> {
        let value = DeValue::parse(text).ok()?;
        Some(read(value.get_ref(), &Lines::default()))
    }

    /// Reads plain text, as the environment has it, for a setting of this kind. What does not fit becomes a
    /// text, which the comparison with the kind then refuses.
    pub(super) fn from_plain(kind: &Kind, text: &str) -> Self {
        let fallback = || Self::Text(text.to_owned());
        match kind {
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Self::Bool(true),
                "false" | "0" => Self::Bool(false),
                _ => fallback(),
            },
            Kind::Integer { .. } => text.trim().parse().map_or_else(|_| fallback(), Self::Integer),
            Kind::Text { .. } | Kind::OneOf(_) => fallback(),
            // Broken TOML must not pass as one odd item.
            Kind::List(_) if text.trim_start().starts_with('[') => {
                Self::from_toml(text).unwrap_or_else(fallback)
            }
            Kind::List(item) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Self::List(
                    parts
                        .map(|part| Item {
                            raw: Self::from_plain(item, part),
                            line: 0,
                        })
                        .collect(),
                )
            }
            Kind::Table(_) | Kind::Tables(_) => Self::from_toml(text).unwrap_or_else(fallback),
        }
    }
}

/// The value as an error message tells it. Long texts are cut.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(text) | Self::Date(text) => f.write_str(&shortened(text)),
            Self::Text(text) => write!(f, "{:?}", shortened(text)),
            Self::List(_) | Self::Table(_) => f.write_str(self.type_name()),
        }
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads a TOML document.
///
/// # Errors
/// The syntax errors, each with its line.
pub(super) fn parse_document(text: &str) -> Result<Vec<Entry>, Vec<(usize, String)>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(read_table(table.get_ref(), &lines));
    }
    let place = |error: &toml::de::Error| error.span().map_or(1, |span| lines.of(span.start));
    Err(errors
        .iter()
        .map(|error| (place(error), error.message().to_owned()))
        .collect())
}

fn read(value: &DeValue<'_>, lines: &Lines) -> Raw {
    match value {
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Number(number.to_string()),
        },
        DeValue::Float(number) => Raw::Number(number.to_string()),
        DeValue::Datetime(date) => Raw::Date(date.to_string()),
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| Item {
                    raw: read(item.get_ref(), lines),
                    line: lines.of(item.span().start),
                })
                .collect(),
        ),
        DeValue::Table(table) => Raw::Table(read_table(table, lines)),
    }
}

fn read_table(table: &DeTable<'_>, lines: &Lines) -> Vec<Entry> {
    let entry = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &toml::Spanned<std::borrow::Cow<'_, str>> = name;
        Entry {
            name: name.get_ref().to_string(),
            line: lines.of(name.span().start),
            item: Item {
                raw: read(value.get_ref(), lines),
                line: lines.of(value.span().start),
            },
        }
    };
    table.iter().map(entry).collect()
}

/// Where the lines of a text begin.
#[derive(Default)]
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(
            memchr::memchr_iter(b'\n', text.as_bytes())
                .map(|end| end + 1)
                .collect(),
        )
    }

    /// The line of a byte, counted from 1.
    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}
