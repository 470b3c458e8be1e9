//! The options of a dialect: a struct in its folder. By its [`OptionsType`] the configuration documents, checks and reads it.
//! The dialect receives it as [`Options`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

/// A struct with the options of a dialect. Give it `#[serde(default, deny_unknown_fields)]`.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use fanfare_core::{DurationText, OptionsType};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize, JsonSchema)]
/// #[serde(default, deny_unknown_fields)]
/// struct Chat {
///     /// How long a client may be silent.
///     #[serde(with = "DurationText::<1>")]
///     silence: Duration,
/// }
///
/// impl Default for Chat {
///     fn default() -> Self {
///         let silence = Duration::from_secs(10);
///         Self { silence }
///     }
/// }
///
/// let options = OptionsType::of::<Chat>().read(serde_json::json!({ "silence": "5s" })).unwrap();
/// assert_eq!(options.get::<Chat>().silence, Duration::from_secs(5));
/// ```
pub trait DialectOptions: Default + Serialize + DeserializeOwned + JsonSchema {}

impl<T: Default + Serialize + DeserializeOwned + JsonSchema> DialectOptions for T {}

/// The type of a dialect's options.
#[derive(Debug, Clone, Copy)]
pub struct OptionsType {
    schema: fn() -> Value,
    defaults: fn() -> String,
    check: fn(&Value) -> Result<(), serde_json::Error>,
}

/// The values are not options of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadOptions(String);

/// The values of a dialect's options. Missing options have their defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(Value);

impl fmt::Debug for Options {
    /// Shows the names of the options without their values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.as_object().into_iter().flat_map(|set| set.keys()))
            .finish()
    }
}

/// The type of a dialect without options.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoOptions {}

/// An environment variable with the name that another server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The variable.
    pub variable: &'static str,
    /// The setting. Of several variables for one setting, the first that is set is used.
    pub target: Target,
    /// The unit of its value.
    pub unit: Unit,
}

/// The setting of an [`Inherited`] variable. Except [`Target::Key`], it affects the dialect and the listeners of the profile,
/// and not the configured listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A configuration key with the name of its table: `auth.jwt_secret`.
    Key(&'static str),
    /// The port of the dialect's listeners.
    Port,
    /// The address of the dialect's listeners, without the port.
    Host,
    /// Whether the dialect is served.
    Enabled,
}

/// The unit of an inherited variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// None: the setting gets the text.
    Plain,
    /// A number without a unit is in seconds.
    Seconds,
    /// A number without a unit is in milliseconds.
    Milliseconds,
}

impl Inherited {
    /// Returns a variable for a setting.
    pub const fn new(variable: &'static str, target: Target, unit: Unit) -> Self {
        Self {
            variable,
            target,
            unit,
        }
    }

    /// Returns a variable for a configuration key, without a unit.
    pub const fn key(variable: &'static str, key: &'static str) -> Self {
        Self::new(variable, Target::Key(key), Unit::Plain)
    }

    /// Returns `true` if the variable sets the configuration key `key`.
    pub fn sets(&self, key: &str) -> bool {
        matches!(self.target, Target::Key(own) if own == key)
    }
}

impl OptionsType {
    /// Returns the type `T`.
    pub const fn of<T: DialectOptions>() -> Self {
        Self {
            schema: schema_of::<T>,
            defaults: || serde_json::to_string(&T::default()).unwrap_or_default(),
            check: |values| T::deserialize(values).map(drop),
        }
    }

    /// Returns the JSON schema, an object with a property for each option.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// Returns the defaults as a JSON object, with the keys in the order of the declaration.
    pub fn defaults(&self) -> String {
        (self.defaults)()
    }

    /// Reads a JSON object.
    ///
    /// # Errors
    /// If a key is unknown or a value is invalid.
    pub fn read(&self, values: Value) -> Result<Options, BadOptions> {
        match (self.check)(&values) {
            Ok(()) => Ok(Options(values)),
            Err(error) => Err(BadOptions(error.to_string())),
        }
    }
}

impl Options {
    /// Returns the options as the dialect's type. If it is not the type that checked them, which is a bug of the dialect, a
    /// debug build panics, and a release build returns the defaults.
    pub fn get<T: DialectOptions>(&self) -> T {
        if self.0.is_null() {
            return T::default();
        }
        T::deserialize(&self.0).unwrap_or_else(|error| {
            debug_assert!(false, "options of another type: {error}");
            T::default()
        })
    }
}

/// Returns the JSON schema of a table of the configuration.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{DurationText, Pattern};

    #[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Chat {
        /// Strict.
        strict: bool,
        /// The time.
        #[serde(with = "DurationText::<1000>")]
        grace: Duration,
        /// Patterns.
        access: Vec<Pattern>,
    }

    impl Default for Chat {
        fn default() -> Self {
            Self {
                strict: true,
                grace: Duration::from_secs(10),
                access: Vec::new(),
            }
        }
    }

    #[test]
    fn missing_options_have_their_defaults() {
        assert_eq!(Options::default().get::<Chat>(), Chat::default());
        let options = OptionsType::of::<Chat>().read(json!({ "grace": "1s", "access": ["news.*"] }));
        let expected = Chat {
            grace: Duration::from_secs(1),
            access: vec![Pattern::new("news.*").expect("a pattern")],
            ..Chat::default()
        };
        assert_eq!(options.expect("good values").get::<Chat>(), expected);
    }

    #[test]
    fn invalid_values_are_refused() {
        for values in [
            json!({ "strict": "true" }),
            json!({ "grace": "0s" }),
            json!({ "grace": "11years" }),
            json!({ "grace": "soon" }),
            json!({ "grace": 10 }),
            json!({ "access": ["news.*", "new*"] }),
            json!({ "acces": [] }),
            json!(1),
        ] {
            assert!(
                OptionsType::of::<Chat>().read(values.clone()).is_err(),
                "{values}"
            );
        }
    }

    #[test]
    fn the_schema_and_the_defaults_are_complete() {
        let options = OptionsType::of::<Chat>();
        assert_eq!(options.defaults(), r#"{"strict":true,"grace":"10s","access":[]}"#);
        let grace = json!({
            "type": "string", "x-kind": "duration", "x-minimum": "1s", "description": "The time.", "default": "10s"
        });
        let schema = options.schema();
        assert_eq!(schema["properties"]["grace"], grace);
        assert_eq!(schema["properties"]["access"]["items"]["x-kind"], "pattern");
        assert_eq!(OptionsType::of::<NoOptions>().defaults(), "{}");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "options of another type")]
    fn another_type_is_a_bug() {
        let options = OptionsType::of::<Chat>().read(json!({ "strict": false }));
        options.expect("good values").get::<NoOptions>();
    }
}
