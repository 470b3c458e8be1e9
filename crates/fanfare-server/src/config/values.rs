//! Values as the file has them, and the typed configuration that they make.

use std::collections::BTreeMap;
use std::fmt;

use fanfare_core::{DialectKind, Registry};
use serde::Deserialize;
use toml::{Table, Value};

use super::dialect::DialectConfig;
use super::model::Config;

/// Values in their tables, as they were written.
#[derive(Clone, Default)]
pub(super) struct SettingValues(pub(super) Table);

/// They contain secrets, so they are not shown.
impl fmt::Debug for SettingValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingValues").finish_non_exhaustive()
    }
}

impl SettingValues {
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.');
        let first = self.0.get(names.next()?);
        names.fold(first, |value, name| value?.get(name))
    }

    pub(super) fn text(&self, path: &str) -> &str {
        self.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns whether the value is an empty text or list, or not set.
    pub(super) fn is_empty(&self, path: &str) -> bool {
        match self.get(path) {
            Some(Value::Array(list)) => list.is_empty(),
            _ => self.text(path).is_empty(),
        }
    }

    pub(super) fn set(&mut self, path: &str, value: impl Into<Value>) {
        let mut value = value.into();
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        for name in rest.rsplit('.').filter(|name| !name.is_empty()) {
            value = Table::from_iter([(name.to_owned(), value)]).into();
        }
        merge(&mut self.0, Table::from_iter([(first.to_owned(), value)]));
    }

    pub(super) fn merge(&mut self, over: Table) {
        merge(&mut self.0, over);
    }
}

/// Puts values over earlier ones. A list replaces the earlier one.
fn merge(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => drop(under.insert(name, value)),
        }
    }
}

/// Returns the typed configuration; unset keys have their defaults. The reason of an error may repeat a secret.
pub(super) fn typed(registry: Registry, values: SettingValues) -> Result<Config, String> {
    let mut root = values.0;
    let mut dialects = BTreeMap::new();
    for kind in registry.iter() {
        if let Some(Value::Table(table)) = root.remove(kind.name) {
            dialects.insert(kind.name.to_owned(), dialect_config(kind, table)?);
        }
    }
    let config = Config::deserialize(root).map_err(|error| error.message().to_owned())?;
    Ok(Config {
        registry,
        dialects,
        ..config
    })
}

/// Returns the settings of a dialect, its own options included.
fn dialect_config(kind: &DialectKind, table: Table) -> Result<DialectConfig, String> {
    let all_have = Table::try_from(DialectConfig::default()).map_err(|error| error.to_string())?;
    let (common, own): (Table, Table) = table.into_iter().partition(|(key, _)| all_have.contains_key(key));
    let own = serde_json::to_value(own).map_err(|error| error.to_string())?;
    let options = kind.options.read(own).map_err(|error| error.to_string())?;
    let common = DialectConfig::deserialize(common).map_err(|error| error.message().to_owned())?;
    Ok(DialectConfig { options, ..common })
}
