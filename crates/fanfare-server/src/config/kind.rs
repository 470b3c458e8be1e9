//! What a setting takes, and how a value is compared with it.

use std::time::Duration;

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::{GuardedUrl, Pattern};
use toml::Value;

use super::bind_address::BindAddress;
use super::raw::Raw;
use super::schema::Key;
use super::types::{self, LONGEST};

/// What a setting takes.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    Text {
        form: Form,
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

/// The forms of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Duration { min: Duration, max: Duration },
    Address,
    Database,
    Network,
    Path,
    Pattern,
    Secret,
    Url,
}

impl Kind {
    /// Compares a single value with what is expected. A list or a table is never a single value.
    ///
    /// The error says what was found and what was expected.
    pub(super) fn scalar(&self, raw: &Raw) -> Result<Value, String> {
        let fits = match (self, raw) {
            (Self::Bool, Raw::Bool(_)) => true,
            (Self::Integer { min, max }, Raw::Integer(number)) => (*min..=*max).contains(number),
            (Self::OneOf(words), Raw::Text(text)) => words.contains(text),
            (Self::Text { form, empty }, Raw::Text(text)) => {
                if text.is_empty() {
                    *empty || *form == Form::Plain
                } else {
                    form.accepts(text) || (*empty && *form == Form::Address && types::is_off(text))
                }
            }
            _ => false,
        };
        if let (true, Some(value)) = (fits, raw.value()) {
            return Ok(value);
        }
        let hint = match (self, raw) {
            (Self::OneOf(words), Raw::Text(found)) => {
                hint(nearest(found, words.iter().map(String::as_str)).map(|near| format!("\"{near}\"")))
            }
            _ => String::new(),
        };
        Err(format!(
            "found {}, expected {}{hint}",
            self.found(raw),
            self.expected(Some(raw))
        ))
    }

    /// Whether a value of this kind must not be printed, because it is or may hold a secret.
    pub(super) fn is_guarded(&self) -> bool {
        match self {
            Self::Text {
                form: Form::Secret | Form::Url | Form::Database,
                ..
            } => true,
            Self::List(item) => item.is_guarded(),
            _ => false,
        }
    }

    /// How a value that does not fit is told.
    pub(super) fn found(&self, raw: &Raw) -> String {
        if self.is_guarded() {
            raw.type_name().to_owned()
        } else {
            raw.to_string()
        }
    }

    /// What would fit. A `raw` that has the right form but not the right size is told the bounds.
    pub(super) fn expected(&self, raw: Option<&Raw>) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Text { form, empty } => {
                let mut text = form.expected(raw);
                match (form, raw) {
                    (Form::Address, _) if *empty => text.push_str(", or \"\" to switch it off"),
                    (Form::Path | Form::Secret, Some(Raw::Text(found))) if found.is_empty() => {
                        text.push_str(" that is not empty");
                    }
                    _ => {}
                }
                text
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

    /// The kind's name in the configuration reference.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Bool => "boolean".to_owned(),
            Self::Integer { .. } => "integer".to_owned(),
            Self::Text { form, .. } => form.title().to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::List(item) => match item.as_ref() {
                Self::OneOf(_) => format!("list of {}", item.title()),
                item => format!("list of {}s", item.title()),
            },
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
        }
    }
}

impl Form {
    fn accepts(self, text: &str) -> bool {
        match self {
            Self::Plain | Self::Path | Self::Secret => true,
            Self::Duration { min, max } => {
                types::parse_duration(text).is_ok_and(|found| (min..=max).contains(&found))
            }
            Self::Address => text.parse::<BindAddress>().is_ok(),
            Self::Network => types::parse_network(text).is_ok(),
            Self::Pattern => Pattern::new(text).is_ok(),
            Self::Url => text.parse::<GuardedUrl>().is_ok(),
            Self::Database => text.parse::<StorageUrl>().is_ok(),
        }
    }

    fn expected(self, raw: Option<&Raw>) -> String {
        match self {
            Self::Plain | Self::Secret => "a text".to_owned(),
            Self::Duration { min, max } => match raw {
                Some(Raw::Text(text)) if humantime::parse_duration(text).is_ok() => bounds(min, max),
                _ => "a duration such as \"30s\"".to_owned(),
            },
            Self::Address => {
                "an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\"".to_owned()
            }
            Self::Network => "a network such as \"10.0.0.0/8\"".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Pattern => {
                let pattern = "a pattern of channels such as \"news.*\"";
                let reason = match raw {
                    Some(Raw::Text(text)) => Pattern::new(text).err(),
                    _ => None,
                };
                match reason {
                    Some(reason) => format!("{pattern} ({reason})"),
                    None => pattern.to_owned(),
                }
            }
            Self::Database => {
                let reason = match raw {
                    Some(Raw::Text(text)) => text.parse::<StorageUrl>().err(),
                    _ => None,
                };
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                format!("{}{reason}", StorageUrl::EXPECTED)
            }
            Self::Url => "a URL with its scheme, such as \"https://example.com\"".to_owned(),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Plain => "string",
            Self::Duration { .. } => "duration",
            Self::Address => "address",
            Self::Network => "network",
            Self::Path => "path",
            Self::Pattern => "pattern",
            Self::Secret => "secret",
            Self::Url | Self::Database => "URL",
        }
    }
}

fn bounds(min: Duration, max: Duration) -> String {
    let most = if max >= LONGEST {
        "ten years".to_owned()
    } else {
        types::format_duration(max)
    };
    if min.is_zero() {
        format!("a duration of at most {most}")
    } else {
        format!("a duration from {} to {most}", types::format_duration(min))
    }
}

/// The end of an error message that knows a better name.
pub(super) fn hint(better: Option<String>) -> String {
    better
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

/// The candidate that `word` is most likely a misspelling of.
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
