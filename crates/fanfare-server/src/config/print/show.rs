//! The effective configuration.

use std::{fmt::Write as _, path::Path}; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{Key, Schema, join};

/// Returns the effective values as TOML, secrets as `***`, each value that is not a default with its origin.
pub fn show(loaded: &Loaded) -> String {
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let mut text = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    let is_set = |setting: &Setting| setting.origin != Origin::Default;
    for table in tables(loaded) {
        if table.is_hidden && !table.settings.iter().any(is_set) {
            continue;
        }
        text.push_str(&table.heading);
        for setting in table.settings {
            let name = setting.key.rsplit('.').next().unwrap_or_default();
            let _ = write!(text, "{name} = {}", setting.value);
            if setting.origin != Origin::Default {
                let _ = write!(text, " # {}", setting.origin);
            }
            text.push('\n');
        }
    }
    text
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key: `resp.bind`, `listener[0].bind`.
    pub key: String,
    /// The value as TOML, secrets as `***`.
    pub value: String,
    /// The default as TOML; `None` for what has none.
    pub default: Option<String>,
    /// Where it was set.
    pub origin: Origin,
    /// What it does.
    pub doc: String,
}

/// The values in force, in the order of the file. What only tests use is left out.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let shown = tables(loaded).into_iter().filter(|table| !table.is_hidden);
    shown.flat_map(|table| table.settings).collect()
}

/// A table of the file with its values in force.
struct ShownTable {
    heading: String,
    is_hidden: bool,
    settings: Vec<Setting>,
}

fn tables(loaded: &Loaded) -> Vec<ShownTable> {
    let schema = Schema::new(loaded.config.registry);
    let mut tables = Vec::new();
    for section in schema.sections() {
        let mut add = |heading: String, path: &str, values: Option<&Value>| {
            let value = |key: &Key| match values {
                Some(item) => item.get(key.name()),
                None => loaded.values.get(&key.path),
            };
            let set = |key: &&Key| Some(setting(loaded, join(path, key.name()), key, value(key)?));
            tables.push(ShownTable {
                heading,
                is_hidden: section.is_hidden(),
                settings: section.keys.iter().filter_map(set).collect(),
            });
        };
        match section.key {
            Some(key) if key.repeats() => {
                let (path, items) = (&key.path, loaded.values.get(&key.path).and_then(Value::as_array));
                for (index, item) in items.into_iter().flatten().enumerate() {
                    add(format!("\n[[{path}]]\n"), &format!("{path}[{index}]"), Some(item));
                }
            }
            Some(key) => add(format!("\n[{}]\n", key.path), &key.path, None),
            None => add(String::new(), "", None),
        }
    }
    tables
}

fn setting(loaded: &Loaded, path: String, key: &Key, value: &Value) -> Setting {
    let setting = Setting {
        value: guarded(key.kind(), value),
        default: key.default.as_ref().map(|value| guarded(key.kind(), value)),
        origin: loaded.origins.of(&path).clone(),
        doc: key.doc().to_owned(),
        key: path,
    };
    match loaded.files.get(&setting.key) {
        Some(file) => Setting {
            key: format!("{}_file", setting.key),
            value: named(file),
            default: None,
            ..setting
        },
        None => setting,
    }
}

/// The name of a file, as TOML.
fn named(file: &Path) -> String {
    Value::from(file.display().to_string()).to_string()
}
