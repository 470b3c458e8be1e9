//! The sources of a configuration, the origins of its values, and the problems with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The sources of a configuration.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`, which must exist. Without it, the first of the default files that exists is read, if
    /// any.
    pub file: Option<PathBuf>,
    /// The profile of `--profile`.
    pub profile: Option<String>,
    /// The dialects of `--dialect`; if there are any, only these are served.
    pub dialects: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Values from the command line: a key such as `resp.bind`, and its value in TOML or as plain text.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// Returns the environment of this process, without a file or flags. Variables that are not Unicode are left out:
    /// no setting has such a value.
    pub fn from_process() -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            env: env.collect(),
            ..Self::default()
        }
    }
}

/// The place where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// The profile of this name.
    Profile(String),
    /// The configuration file.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// The line, counted from 1; 0 is the file as a whole.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The command line, for this key.
    Flag(String),
    /// Other settings, for this reason.
    Derived(&'static str),
}

impl Origin {
    /// Returns the origin of a value on `line`, if this is a file.
    pub(super) fn at(&self, line: usize) -> Self {
        match self {
            Self::File { file, .. } => Self::File {
                file: file.clone(),
                line,
            },
            other => other.clone(),
        }
    }

    /// Returns whether a variable of another server set the value. It may be meant for that server.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Self::Environment(name) if !name.starts_with("FANFARE_"))
    }

    /// Returns whether the value was configured: in the file, the environment or on the command line.
    pub fn is_configured(&self) -> bool {
        match self {
            Self::File { .. } | Self::Environment(_) | Self::Flag(_) => true,
            Self::Default | Self::Profile(_) | Self::Derived(_) => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) if flag.starts_with("--") => f.write_str(flag),
            Self::Flag(key) => write!(f, "--set {key}"),
            Self::Derived(reason) => f.write_str(reason),
        }
    }
}

/// The origins of all values, by key: `resp.bind`, `listener[0].bind`.
#[derive(Clone, Debug, Default)]
pub struct Origins(pub(super) BTreeMap<String, Origin>);

impl Origins {
    /// Returns where the value of `key` was set.
    pub fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
}

/// One error, or, as a warning, one doubtful value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place of the value that must change.
    pub origin: Origin,
    /// The key; empty for the file as a whole.
    pub key: String,
    /// The found and the expected value, without any secret.
    pub text: String,
}

impl Problem {
    pub(super) fn new(origin: Origin, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            origin,
            key: key.into(),
            text: text.into(),
        }
    }

    /// Returns the order of problems: file, environment, command line, others.
    pub(crate) fn rank(&self) -> (u8, usize) {
        match &self.origin {
            Origin::File { line, .. } => (0, *line),
            Origin::Environment(_) => (1, 0),
            Origin::Flag(_) => (2, 0),
            Origin::Profile(_) | Origin::Default | Origin::Derived(_) => (3, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        let is_named = matches!(&self.origin, Origin::Flag(key) if *key == self.key);
        if !self.key.is_empty() && !is_named {
            // A quoted key may contain any character, even line breaks.
            write!(f, "{}: ", self.key.escape_debug())?;
        }
        f.write_str(&self.text)
    }
}

/// All errors of a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}
