//! The effective configuration.

use std::{fmt::Write as _, path::Path}; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::kind::Key;
use crate::config::kind::Kind;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{Schema, join};

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

fn tables<'a>(loaded: &'a Loaded) -> Vec<ShownTable> {
    let schema = Schema::new(loaded.config.registry);
    let mut tables = Vec::new();
    for section in schema.sections() {
        let mut add = |heading: String, path: &str, value: &dyn Fn(&str) -> Option<&'a Value>| {
            let set = |key: &&Key| Some(setting(loaded, join(path, &key.name), key, value(&key.name)?));
            tables.push(ShownTable {
                heading,
                is_hidden: section.is_hidden(),
                settings: section.keys.iter().filter_map(set).collect(),
            });
        };
        let path = &section.path;
        if section.repeats() {
            let items = loaded.values.get(path).and_then(Value::as_array);
            for (index, item) in items.into_iter().flatten().enumerate() {
                add(format!("\n[[{path}]]\n"), &format!("{path}[{index}]"), &|name| {
                    item.get(name)
                });
            }
        } else {
            let heading = section.key.map_or_else(String::new, |_| format!("\n[{path}]\n"));
            add(heading, path, &|name| loaded.values.get(&join(path, name)));
        }
    }
    tables
}

fn setting(loaded: &Loaded, path: String, key: &Key, value: &Value) -> Setting {
    let setting = Setting {
        value: printed(key, value),
        default: key.default.as_ref().map(|value| printed(key, value)),
        origin: loaded.origins.of(&path).clone(),
        doc: key.doc.clone(),
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

/// A value as TOML on one line, without secrets.
fn printed(key: &Key, value: &Value) -> String {
    match &key.kind {
        Kind::Table(_) => value.to_string(),
        kind => guarded(kind, value),
    }
}
