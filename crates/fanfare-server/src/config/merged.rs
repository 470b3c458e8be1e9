//! The layers so far: the values, and their origins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::Value;

use super::origin::{Origin, Origins, Problem};
use super::values::SettingValues;

#[derive(Default)]
pub(super) struct Merged {
    pub(super) values: SettingValues,
    pub(super) origins: Origins,
    pub(super) problems: Vec<Problem>,
    /// Keys whose value was refused. Rules between settings skip them.
    pub(super) refused: BTreeSet<String>,
    /// The files that values are read from, by key.
    pub(super) files: BTreeMap<String, PathBuf>,
}

impl Merged {
    pub(super) fn set(&mut self, path: &str, value: Value, origin: Origin) {
        self.values.set(path, value);
        self.record_origin(path, origin);
    }

    /// Records where the value of `path` was set: `listener`, `listener[0].bind`.
    pub(super) fn record_origin(&mut self, path: &str, origin: Origin) {
        self.origins.0.insert(path.to_owned(), origin);
    }

    /// Removes the origins inside the tables of an earlier layer, which a later one replaces.
    pub(super) fn remove_origins_inside(&mut self, path: &str) {
        let inside = format!("{path}[");
        self.origins.0.retain(|key, _| !key.starts_with(&inside));
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        self.refused.insert(problem.key.clone());
        self.problems.push(problem);
    }

    pub(super) fn is_configured(&self, key: &str) -> bool {
        self.origins.of(key).is_configured()
    }

    /// Sets a value that follows from other settings, unless it was configured.
    pub(super) fn derive(&mut self, key: &str, value: impl Into<Value>, reason: &'static str) {
        let value = value.into();
        if !self.is_configured(key) && self.values.get(key) != Some(&value) {
            self.set(key, value, Origin::Derived(reason));
        }
    }
}
