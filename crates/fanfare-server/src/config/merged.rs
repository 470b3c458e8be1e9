//! The layers so far: a value for each key, and its origin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fanfare_core::{DialectKind, Options, Registry};
use serde::Deserialize;
use toml::Value;

use super::dialect::DialectConfig;
use super::kind::Kind;
use super::model::Config;
use super::origin::{Origin, Origins, Problem};
use super::schema::Schema;

/// The layers so far.
pub(super) struct Merged {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) origins: Origins,
    pub(super) problems: Vec<Problem>,
    /// Keys whose value was refused. Rules between settings skip them.
    pub(super) refused: BTreeSet<String>,
    /// The files that values were read from, by key.
    pub(super) files: BTreeMap<String, PathBuf>,
}

impl Merged {
    pub(super) fn with_defaults(schema: &Schema) -> Self {
        let default = |kind: &Kind, default: Option<&Value>| match kind {
            Kind::Tables(_) => Some(Value::Array(Vec::new())),
            _ => default.cloned(),
        };
        let leaves = schema.leaves().into_iter();
        Self {
            values: leaves
                .filter_map(|(path, key)| Some((path, default(&key.kind, key.default.as_ref())?)))
                .collect(),
            origins: Origins::default(),
            problems: Vec::new(),
            refused: BTreeSet::new(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn set(&mut self, path: &str, value: Value, origin: Origin) {
        self.values.insert(path.to_owned(), value);
        self.place(path, origin);
    }

    /// Records where the value of `path` was set: `listener`, `listener[0].bind`.
    pub(super) fn place(&mut self, path: &str, origin: Origin) {
        self.origins.0.insert(path.to_owned(), origin);
    }

    /// Forgets the origins inside the tables of an earlier layer, which a later one replaces.
    pub(super) fn forget_inside(&mut self, path: &str) {
        let inside = format!("{path}[");
        self.origins.0.retain(|key, _| !key.starts_with(&inside));
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        self.refused.insert(problem.key.clone());
        self.problems.push(problem);
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or_default()
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

    /// Returns the typed configuration.
    ///
    /// # Errors
    /// None that can occur: every value was checked by the same parsers that serde calls. If they differ one day,
    /// stopping is better than running with defaults. Serde's message may repeat a secret, so it is not shown.
    pub(super) fn build(&self, registry: Registry) -> Result<Config, Problem> {
        let broken = |table: &str| {
            let text = "has a value that passed the checks and cannot be used";
            Problem::new(Origin::Default, table, text)
        };
        let mut root = self.nested();
        let mut tables = BTreeMap::new();
        for kind in registry.iter() {
            if let Some(Value::Table(table)) = root.remove(kind.name()) {
                let typed = dialect_config(kind, table).ok_or_else(|| broken(kind.name()))?;
                tables.insert(kind.name().to_owned(), typed);
            }
        }
        let config = Config::deserialize(root).map_err(|_| broken("config"))?;
        Ok(Config {
            registry,
            dialects: tables,
            ..config
        })
    }

    /// Returns the values as the file would have them.
    fn nested(&self) -> toml::Table {
        let mut root = toml::Table::new();
        for (path, value) in &self.values {
            let (tables, name) = path.rsplit_once('.').unwrap_or(("", path));
            let mut table = &mut root;
            for part in tables.split('.').filter(|part| !part.is_empty()) {
                let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
                let Value::Table(inner) = inner else { return root };
                table = inner;
            }
            table.insert(name.to_owned(), value.clone());
        }
        root
    }
}

/// Returns the settings of a dialect, its own options included.
fn dialect_config(kind: &dyn DialectKind, table: toml::Table) -> Option<DialectConfig> {
    let type_of_options = kind.defaults().options;
    let schema = type_of_options.schema();
    let is_own = |(key, _): &(String, Value)| schema["properties"].get(key).is_some();
    let (own, common): (toml::Table, toml::Table) = table.into_iter().partition(is_own);
    let options: Options = type_of_options.read(serde_json::to_value(own).ok()?).ok()?;
    let typed = DialectConfig::deserialize(common).ok()?;
    Some(DialectConfig { options, ..typed })
}
