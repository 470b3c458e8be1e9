//! The type of a setting, from the JSON schema of its field: its text in the documentation and in errors. The field
//! itself decides whether a value is valid ([`super::schema::Schema::check`]).

use std::str::FromStr;
use std::{fmt, ops::RangeInclusive};

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::{GuardedUrl, HIDDEN, LONGEST, format_duration, parse_duration, policy::Grant};
use serde_json::Value as Json;
use toml::Value;
use toml::de::DeValue;

use super::found::{boolean, shown, type_name};
use super::types::is_off;

/// The type of a setting, or of an item of a list.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a>(pub(super) &'a Json);

impl<'a> Kind<'a> {
    pub(super) fn item(self) -> Option<Self> {
        (self.0["type"] == "array").then(|| Self(&self.0["items"]))
    }

    /// Returns the form of a text, by the name in the JSON schema.
    fn form(self) -> &'a str {
        self.0["x-kind"].as_str().unwrap_or_default()
    }

    /// Returns whether it is a feature that an empty text switches off.
    fn may_be_off(self) -> bool {
        self.0["x-empty"] == true
    }

    /// Returns whether an empty text is refused although the field would accept it.
    fn refuses_empty(self) -> bool {
        matches!(self.form(), "path" | "secret") && self.0["default"] != ""
    }

    /// Returns the words of an enumeration, in either of the forms that a schema uses.
    fn words(self) -> Option<Vec<&'a str>> {
        match (&self.0["enum"], &self.0["oneOf"]) {
            (Json::Array(words), _) => words.iter().map(Json::as_str).collect(),
            (_, Json::Array(variants)) => variants.iter().map(|variant| variant["const"].as_str()).collect(),
            _ => None,
        }
    }

    fn bounds(self) -> RangeInclusive<i64> {
        let bound = |name: &str| self.0[name].as_i64();
        bound("minimum").unwrap_or(i64::MIN)..=bound("maximum").unwrap_or(i64::MAX)
    }

    /// Returns a single value for the field to check; `None` for a list, a table or a number out of bounds.
    pub(super) fn single(self, found: &DeValue<'_>) -> Option<Value> {
        match found {
            _ if self.item().is_some() => None,
            DeValue::Boolean(value) => Some(Value::from(*value)),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                number
                    .filter(|number| self.bounds().contains(number))
                    .map(Value::from)
            }
            DeValue::String(text) if self.may_be_off() && is_off(text) => Some(Value::from("")),
            DeValue::String(text) if text.is_empty() && self.refuses_empty() => None,
            DeValue::String(text) => Some(Value::from(&**text)),
            _ => None,
        }
    }

    /// Returns plain text, as the environment has it, as TOML for a setting of this type. A text that does not fit stays a
    /// text, which the check then refuses.
    pub(super) fn to_toml(self, text: &str) -> String {
        let as_text = || Value::from(text).to_string();
        match self.0["type"].as_str() {
            Some("boolean") => boolean(text).map_or_else(as_text, |value| value.to_string()),
            Some("integer") => {
                let number = text.trim().parse::<i64>();
                number.map_or_else(|_| as_text(), |number| number.to_string())
            }
            // A text with a bracket is TOML. If it is broken, it must not pass as one item.
            Some("array") if self.0["items"]["type"] != "object" && !text.trim_start().starts_with('[') => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let parts: Vec<_> = parts.map(|part| Self(&self.0["items"]).to_toml(part)).collect();
                format!("[{}]", parts.join(", "))
            }
            Some("array") if DeValue::parse(text).is_ok() => text.to_owned(),
            _ => as_text(),
        }
    }

    /// Returns how to print a text, if it may contain a secret.
    pub(super) fn guard(self) -> Option<fn(&str) -> String> {
        match self.item().unwrap_or(self).form() {
            "database" => Some(without_password::<StorageUrl>),
            "secret" => Some(|_| HIDDEN.to_owned()),
            "url" => Some(without_password::<GuardedUrl>),
            _ => None,
        }
    }

    /// Returns the text of an error: the found and the expected value, with the `reason` of the field.
    pub(super) fn mismatch(self, found: &DeValue<'_>, reason: &str) -> String {
        let text = found.as_str();
        if let ("grant", Some(text)) = (self.form(), text) {
            return format!("found {}, {reason}{}", shown(found), hint(better_grant(text)));
        }
        let shown = if self.guard().is_some() {
            type_name(found).to_owned()
        } else {
            shown(found)
        };
        let words = text.zip(self.words());
        let hint = words.map(|(text, words)| did_you_mean(text, words.into_iter(), '"'));
        let reason = match text {
            Some("") if self.refuses_empty() => " that is not empty".to_owned(),
            _ if self.may_be_off() => ", or \"\" to switch it off".to_owned(),
            Some(_)
                if !reason.is_empty()
                    && matches!(self.form(), "database" | "pattern" | "rule-pattern" | "size") =>
            {
                format!(" ({reason})")
            }
            _ => String::new(),
        };
        format!(
            "found {shown}, expected {}{reason}{}",
            self.expected(text),
            hint.unwrap_or_default()
        )
    }

    /// Returns the expected value. If the text `found` is a duration of the wrong length, these are the bounds.
    pub(super) fn expected(self, found: Option<&str>) -> String {
        if let Some(words) = self.words() {
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            return format!("one of {}", words.join(", "));
        }
        match self.0["type"].as_str() {
            Some("boolean") => "true or false".to_owned(),
            Some("integer") => match self.bounds().into_inner() {
                (min, i64::MAX) => format!("a whole number of at least {min}"),
                (min, max) => format!("a whole number from {min} to {max}"),
            },
            Some("array") => format!("a list, each item {}", Self(&self.0["items"]).expected(None)),
            _ if self.form() == "duration"
                && found.is_some_and(|text| humantime::parse_duration(text).is_ok()) =>
            {
                self.lengths()
            }
            _ => self.title_and_expected().1.to_owned(),
        }
    }

    /// Returns the bounds of a duration, in words.
    fn lengths(self) -> String {
        let bound = |name: &str| parse_duration(self.0[name].as_str()?).ok();
        let most = match bound("x-maximum") {
            Some(most) if most < LONGEST => format_duration(most),
            _ => "ten years".to_owned(),
        };
        match bound("x-minimum") {
            Some(least) => format!("a duration from {} to {most}", format_duration(least)),
            None => format!("a duration of at most {most}"),
        }
    }

    /// Returns the type's name in the configuration reference.
    pub(super) fn title(self) -> String {
        if let Some(words) = self.words() {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            return words.join(", ");
        }
        match (self.0["type"].as_str(), self.item()) {
            (Some("object"), _) => "table".to_owned(),
            (_, Some(item)) if item.words().is_some() => format!("list of {}", item.title()),
            (_, Some(item)) => format!("list of {}s", item.title()),
            (Some(name @ ("boolean" | "integer")), _) => name.to_owned(),
            _ => self.title_and_expected().0.to_owned(),
        }
    }

    /// Returns the texts for a form of strings: its title, and the expected value in errors.
    fn title_and_expected(self) -> (&'static str, &'static str) {
        match self.form() {
            "address" => (
                "address",
                "an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\"",
            ),
            "database" => ("URL", StorageUrl::EXPECTED),
            "duration" => ("duration", "a duration such as \"30s\""),
            "grant" => ("string", "a grant such as \"owner\""),
            "network" => ("network", "a network such as \"10.0.0.0/8\""),
            "path" => ("path", "a path"),
            "pattern" => ("pattern", "a pattern of channels such as \"news.*\""),
            "rule-pattern" => ("string", "a pattern such as \"reports.{user}.**\""),
            "secret" => ("secret", "a text"),
            "size" => ("size", "a number of bytes with its unit such as \"64MiB\""),
            "url" => ("URL", "a URL with its scheme, such as \"https://example.com\""),
            _ => ("string", "a text"),
        }
    }
}

fn without_password<T: FromStr + fmt::Display>(text: &str) -> String {
    text.parse::<T>()
        .map_or_else(|_| HIDDEN.to_owned(), |url| url.to_string())
}

/// Returns the grant that a text most likely misspells.
fn better_grant(text: &str) -> Option<String> {
    let (word, name) = text.split_once(':').unwrap_or((text, ""));
    let near = nearest(word.trim(), Grant::WORDS.into_iter())?;
    let parts: Vec<&str> = name.split('=').map(str::trim).collect();
    let better = match near {
        "role" | "claim" => format!("{near}:{}", parts.join("=")),
        _ => near.to_owned(),
    };
    (better != text && better.parse::<Grant>().is_ok()).then(|| format!("{better:?}"))
}

/// Returns the end of an error message: the suggested name, if there is one.
pub(super) fn hint(better: Option<String>) -> String {
    better.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Returns the end of an error message about `word`: the candidate that it most likely misspells, between two `mark`s.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>, mark: char) -> String {
    hint(nearest(word, candidates).map(|near| format!("{mark}{near}{mark}")))
}

/// Returns the candidate that `word` most likely misspells.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; more is another word.
    let allowed = (word.chars().count() / 3).max(1);
    let word = word.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let near = candidates.map(|candidate| (distance(candidate), candidate));
    let near = near.filter(|(distance, _)| *distance <= allowed);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
