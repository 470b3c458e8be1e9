//! The sources of a configuration, before any is read.

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
