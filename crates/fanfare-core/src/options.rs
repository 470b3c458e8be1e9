//! The settings of one dialect. The dialect declares them in its folder; the configuration documents, checks
//! and reads them by that declaration, and passes them to the dialect as [`Options`].

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use thiserror::Error;

use crate::Pattern;

/// The declaration of a dialect's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// The key in the dialect's table.
    pub name: &'static str,
    /// Its documentation.
    pub doc: &'static str,
    /// The kind of its value.
    pub kind: OptionKind,
    /// The default, as written in TOML; in a form that is JSON as well, such as `"10s"` with its quotes, `3` or `[]`.
    pub default: &'static str,
}

/// The kind of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number, both bounds included.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A duration, at least this long.
    Duration {
        /// The shortest.
        min: Duration,
    },
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of patterns of channels, each as [`Pattern::new`] takes it.
    Patterns,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// Of [`OptionKind::Bool`].
    Bool(bool),
    /// Of [`OptionKind::Integer`].
    Integer(i64),
    /// Of [`OptionKind::Duration`].
    Duration(Duration),
    /// Of [`OptionKind::Text`] and [`OptionKind::OneOf`].
    Text(String),
    /// Of [`OptionKind::Texts`].
    Texts(Vec<String>),
    /// Of [`OptionKind::Patterns`].
    Patterns(Vec<Pattern>),
}

/// A value that does not fit its option.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the option {0} has a value that it does not take")]
pub struct BadOption(pub &'static str);

/// The options of one dialect, by name. An option that was not set has its default.
///
/// Reading an undeclared option, or by the getter of another kind, is a bug of the dialect: a debug build
/// panics, a release build returns an empty value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, OptionValue>);

/// An environment variable that another server named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The variable.
    pub variable: &'static str,
    /// What it sets. If several variables of a list set the same, the first that is present wins.
    pub target: Target,
    /// How to read its text.
    pub unit: Unit,
}

/// What an [`Inherited`] variable sets. All but [`Target::Key`] are about the declaring dialect and the
/// listeners of the profile; configured listeners stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A key of the configuration with its table's name: `auth.jwt_secret`.
    Key(&'static str),
    /// The port of the dialect's listeners.
    Port,
    /// The address of the dialect's listeners, without the port.
    Host,
    /// Whether the dialect is served at all.
    Enabled,
}

/// How to read the text of an inherited variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As it is.
    Plain,
    /// A bare number counts seconds.
    Seconds,
    /// A bare number counts milliseconds.
    Milliseconds,
}

impl Inherited {
    /// Returns whether this variable sets the key `key`.
    pub fn sets(&self, key: &str) -> bool {
        matches!(self.target, Target::Key(own) if own == key)
    }
}

impl OptionSpec {
    /// Reads `json` as a value of this option: durations as people write them (`"30s"`), everything else as
    /// JSON.
    ///
    /// # Errors
    /// If it is of another kind or out of bounds.
    pub fn read(&self, json: &Value) -> Result<OptionValue, BadOption> {
        let bad = BadOption(self.name);
        let value = match self.kind {
            OptionKind::Bool => json.as_bool().map(OptionValue::Bool),
            OptionKind::Integer { min, max } => json
                .as_i64()
                .filter(|number| (min..=max).contains(number))
                .map(OptionValue::Integer),
            OptionKind::Duration { min } => json
                .as_str()
                .and_then(|text| humantime::parse_duration(text.trim()).ok())
                .filter(|duration| *duration >= min)
                .map(OptionValue::Duration),
            OptionKind::Text => json.as_str().map(|text| OptionValue::Text(text.to_owned())),
            OptionKind::OneOf(words) => json
                .as_str()
                .filter(|text| words.contains(text))
                .map(|text| OptionValue::Text(text.to_owned())),
            OptionKind::Texts => list(json, |text| Some(text.to_owned())).map(OptionValue::Texts),
            OptionKind::Patterns => list(json, |text| Pattern::new(text).ok()).map(OptionValue::Patterns),
        };
        value.ok_or(bad)
    }
}

fn list<T>(json: &Value, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    json.as_array()?
        .iter()
        .map(|item| item.as_str().and_then(&read))
        .collect()
}

impl Options {
    /// Returns the defaults of the options that `specs` declare.
    pub fn defaults(specs: &[OptionSpec]) -> Self {
        let default = |spec: &OptionSpec| {
            let json = serde_json::from_str(spec.default).ok()?;
            Some((spec.name.to_owned(), spec.read(&json).ok()?))
        };
        Self(specs.iter().filter_map(default).collect())
    }

    /// Returns the options that `specs` declare: the value that `given` returns for a name, else the default.
    ///
    /// # Errors
    /// If a given value does not fit.
    pub fn read(specs: &[OptionSpec], given: impl Fn(&str) -> Option<Value>) -> Result<Self, BadOption> {
        let mut options = Self::defaults(specs);
        for spec in specs {
            if let Some(json) = given(spec.name) {
                options.0.insert(spec.name.to_owned(), spec.read(&json)?);
            }
        }
        Ok(options)
    }

    /// The option of [`OptionKind::Bool`] of that name.
    pub fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(OptionValue::Bool(flag)) => *flag,
            _ => undeclared(name, false),
        }
    }

    /// The option of [`OptionKind::Integer`] of that name.
    pub fn integer(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(OptionValue::Integer(number)) => *number,
            _ => undeclared(name, 0),
        }
    }

    /// The option of [`OptionKind::Duration`] of that name.
    pub fn duration(&self, name: &str) -> Duration {
        match self.0.get(name) {
            Some(OptionValue::Duration(duration)) => *duration,
            _ => undeclared(name, Duration::ZERO),
        }
    }

    /// The option of [`OptionKind::Text`] or [`OptionKind::OneOf`] of that name.
    pub fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(OptionValue::Text(text)) => text,
            _ => undeclared(name, ""),
        }
    }

    /// The option of [`OptionKind::Texts`] of that name.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(OptionValue::Texts(texts)) => texts,
            _ => undeclared(name, &[]),
        }
    }

    /// The option of [`OptionKind::Patterns`] of that name.
    pub fn patterns(&self, name: &str) -> &[Pattern] {
        match self.0.get(name) {
            Some(OptionValue::Patterns(patterns)) => patterns,
            _ => undeclared(name, &[]),
        }
    }
}

fn undeclared<T>(name: &str, empty: T) -> T {
    debug_assert!(false, "no option {name:?} of that kind is declared");
    empty
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn spec(name: &'static str, kind: OptionKind, default: &'static str) -> OptionSpec {
        let doc = "";
        OptionSpec {
            name,
            doc,
            kind,
            default,
        }
    }

    const SPECS: &[OptionSpec] = &[
        spec("strict", OptionKind::Bool, "true"),
        spec("count", OptionKind::Integer { min: 1, max: 9 }, "3"),
        spec(
            "grace",
            OptionKind::Duration {
                min: Duration::from_secs(1),
            },
            "\"10s\"",
        ),
        spec("greeting", OptionKind::Text, "\"hello\""),
        spec("access", OptionKind::OneOf(&["all", "none"]), "\"all\""),
        spec("roles", OptionKind::Texts, "[]"),
        spec("public", OptionKind::Patterns, r#"["news.*"]"#),
    ];

    #[test]
    fn defaults_need_no_configuration() {
        let options = Options::defaults(SPECS);
        assert!(options.flag("strict"));
        assert_eq!(options.integer("count"), 3);
        assert_eq!(options.duration("grace"), Duration::from_secs(10));
        assert_eq!(options.text("greeting"), "hello");
        assert_eq!(options.text("access"), "all");
        assert!(options.texts("roles").is_empty());
        assert_eq!(
            options.patterns("public"),
            [Pattern::new("news.*").expect("a pattern")]
        );
    }

    #[test]
    fn given_values_and_defaults() {
        let given: Value = serde_json::json!({ "count": 9, "roles": ["a", "b"], "access": "none" });
        let options = Options::read(SPECS, |name| given.get(name).cloned()).expect("good values");
        assert_eq!(options.integer("count"), 9);
        assert_eq!(options.texts("roles"), ["a", "b"]);
        assert_eq!(options.text("access"), "none");
        assert!(options.flag("strict"));
    }

    #[test]
    fn values_that_do_not_fit() {
        let cases: &[(&'static str, Value)] = &[
            ("strict", "true".into()),
            ("count", 0.into()),
            ("count", 10.into()),
            ("count", 1.5.into()),
            ("grace", "0s".into()),
            ("grace", "soon".into()),
            ("grace", 10.into()),
            ("greeting", Value::Null),
            ("access", "some".into()),
            ("roles", "a".into()),
            ("roles", serde_json::json!(["a", 1])),
            ("public", serde_json::json!(["news.*", "new*"])),
        ];
        for (name, json) in cases {
            let given = |asked: &str| (asked == *name).then(|| json.clone());
            assert_eq!(Options::read(SPECS, given), Err(BadOption(name)), "{name} {json}");
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "no option \"count\" of that kind")]
    fn the_wrong_getter_is_a_fault() {
        Options::defaults(SPECS).flag("count");
    }
}
