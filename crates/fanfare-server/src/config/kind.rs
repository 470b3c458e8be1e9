//! The type of a setting, and the check of a value against it.

use std::time::Duration;

use fanfare_core::{LONGEST, format_duration, parse_duration};
use toml::Value;
use toml::de::DeValue;

use super::form::Form;
use super::found::{boolean, shown, type_name};
use super::types;

/// The type of a setting.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    Text {
        form: &'static Form,
        /// Whether the empty text means "none".
        empty: bool,
    },
    OneOf(Vec<String>),
    List(Box<Kind>),
    /// A table of its own, `[name]`.
    Table(Vec<Key>),
    /// A table that repeats, `[[name]]`.
    Tables(Vec<Key>),
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) kind: Kind,
    /// The default; none for tables and for required keys.
    pub(super) default: Option<Value>,
    pub(super) required: bool,
    /// For tests only, and not documented.
    pub(super) hidden: bool,
    /// Names a file that holds another key's value; all of these are documented together.
    pub(super) is_file_form: bool,
}

impl Kind {
    /// Checks a single value. A list or a table is never a single value.
    ///
    /// The error names what was found and what was expected.
    pub(super) fn scalar(&self, found: &DeValue<'_>) -> Result<Value, String> {
        let value = match (self, found) {
            (Self::Bool, DeValue::Boolean(value)) => Some(Value::from(*value)),
            (Self::Integer { min, max }, DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                number
                    .filter(|number| (*min..=*max).contains(number))
                    .map(Value::from)
            }
            (Self::Text { form, empty: true }, DeValue::String(text))
                if form.may_be_off() && types::is_off(text) =>
            {
                Some(Value::from(""))
            }
            (_, DeValue::String(text)) => self.takes(text).then(|| Value::from(&**text)),
            _ => None,
        };
        let hint = || match (self, found) {
            (Self::OneOf(words), DeValue::String(found)) => {
                hint(nearest(found, words.iter().map(String::as_str)).map(|near| format!("\"{near}\"")))
            }
            _ => String::new(),
        };
        value.ok_or_else(|| {
            let expected = self.expected(found.as_str());
            format!("found {}, expected {expected}{}", self.found(found), hint())
        })
    }

    /// Returns plain text, as the environment has it, as TOML for a setting of this kind. A text that does not fit stays a
    /// text, which the check of the kind then refuses.
    pub(super) fn to_toml(&self, text: &str) -> String {
        let as_text = || Value::from(text).to_string();
        match self {
            Self::Bool => boolean(text).map_or_else(as_text, |value| value.to_string()),
            Self::Integer { .. } => {
                let number = text.trim().parse::<i64>();
                number.map_or_else(|_| as_text(), |number| number.to_string())
            }
            Self::Duration { .. } | Self::Text { .. } | Self::OneOf(_) => as_text(),
            // Broken TOML must not pass as one odd item.
            Self::List(item) if !text.trim_start().starts_with('[') => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let parts: Vec<_> = parts.map(|part| item.to_toml(part)).collect();
                format!("[{}]", parts.join(", "))
            }
            Self::List(_) | Self::Table(_) | Self::Tables(_) => match DeValue::parse(text) {
                Ok(_) => text.to_owned(),
                Err(_) => as_text(),
            },
        }
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Duration { min, max } => {
                parse_duration(text).is_ok_and(|found| (*min..=*max).contains(&found))
            }
            Self::Text { form, empty } if text.is_empty() => *empty || form.is_plain(),
            Self::Text { form, .. } => (form.check)(text).is_ok(),
            Self::OneOf(words) => words.iter().any(|word| word == text),
            _ => false,
        }
    }

    /// Returns how to print a text of this kind, if it may contain a secret.
    pub(super) fn guard(&self) -> Option<fn(&str) -> String> {
        match self {
            Self::Text { form, .. } => form.guard,
            Self::List(item) => item.guard(),
            _ => None,
        }
    }

    /// Returns a value that does not fit, as an error shows it.
    pub(super) fn found(&self, found: &DeValue<'_>) -> String {
        if self.guard().is_some() {
            type_name(found).to_owned()
        } else {
            shown(found)
        }
    }

    /// Returns what would fit. If the text `found` has the right form and the wrong size, these are the bounds.
    pub(super) fn expected(&self, found: Option<&str>) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { min, max } => match found {
                Some(text) if humantime::parse_duration(text).is_ok() => bounds(*min, *max),
                _ => "a duration such as \"30s\"".to_owned(),
            },
            Self::Text { form, empty } => {
                let reason = match found.map(form.check) {
                    Some(Ok(())) if found == Some("") => " that is not empty".to_owned(),
                    Some(Err(reason)) if !reason.is_empty() => format!(" ({reason})"),
                    _ if *empty && form.may_be_off() => ", or \"\" to switch it off".to_owned(),
                    _ => String::new(),
                };
                format!("{}{reason}", form.expected)
            }
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::List(item) => format!("a list, each item {}", item.expected(None)),
            Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a list of tables".to_owned(),
        }
    }

    /// Returns the kind's name in the configuration reference.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Bool => "boolean".to_owned(),
            Self::Integer { .. } => "integer".to_owned(),
            Self::Duration { .. } => "duration".to_owned(),
            Self::Text { form, .. } => form.title.to_owned(),
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                words.join(", ")
            }
            Self::List(item) => match item.as_ref() {
                Self::OneOf(_) => format!("list of {}", item.title()),
                item => format!("list of {}s", item.title()),
            },
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
        }
    }
}

fn bounds(min: Duration, max: Duration) -> String {
    let most = if max >= LONGEST {
        "ten years".to_owned()
    } else {
        format_duration(max)
    };
    if min.is_zero() {
        format!("a duration of at most {most}")
    } else {
        format!("a duration from {} to {most}", format_duration(min))
    }
}

/// Returns the end of an error message that knows a better name.
pub(super) fn hint(better: Option<String>) -> String {
    better
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

/// Returns the candidate that `word` most likely misspells.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; more is another word.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
