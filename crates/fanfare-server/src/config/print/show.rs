//! The effective configuration.

use std::{fmt::Write as _, path::Path}; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::kind::Key;
use crate::config::kind::Kind;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{Schema, Section, join};

/// Returns the effective values as TOML, secrets as `***`, each value that is not a default with its origin.
pub fn show(loaded: &Loaded) -> String {
    let schema = Schema::new(loaded.config.registry);
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let head = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    let mut printer = Printer { loaded, text: head };
    for section in schema.sections() {
        let is_set = |key: &&Key| *loaded.origins.of(&join(&section.path, &key.name)) != Origin::Default;
        if section.repeats() {
            printer.repeated(&section);
        } else if !section.is_hidden() || section.keys.iter().any(is_set) {
            if section.key.is_some() {
                let _ = writeln!(printer.text, "\n[{}]", section.path);
            }
            for key in &section.keys {
                printer.setting(&section.path, key);
            }
        }
    }
    printer.text
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
    let schema = Schema::new(loaded.config.registry);
    let mut settings = Vec::new();
    for section in schema.sections() {
        if section.repeats() {
            for (path, table) in tables(loaded, &section.path) {
                let set = section
                    .keys
                    .iter()
                    .filter_map(|key| Some((key, table.get(&key.name)?)));
                settings.extend(set.map(|(key, value)| setting(loaded, join(&path, &key.name), key, value)));
            }
        } else if !section.is_hidden() {
            let paths = section
                .keys
                .iter()
                .map(|key| (join(&section.path, &key.name), key));
            let set = paths.filter_map(|(path, key)| Some((loaded.values.get(&path)?, path, key)));
            settings.extend(set.map(|(value, path, key)| setting(loaded, path, key, value)));
        }
    }
    settings
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

/// The tables of a repeated section, each with its path: `listener[0]`.
fn tables<'a>(loaded: &'a Loaded, name: &str) -> impl Iterator<Item = (String, &'a toml::Table)> {
    let tables = loaded.values.get(name).and_then(Value::as_array);
    let tables = tables
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .enumerate();
    tables.map(move |(index, table)| (format!("{name}[{index}]"), table))
}

struct Printer<'a> {
    loaded: &'a Loaded,
    text: String,
}

impl Printer<'_> {
    fn setting(&mut self, prefix: &str, key: &Key) {
        let path = join(prefix, &key.name);
        if let Some(file) = self.loaded.files.get(&path) {
            self.line(&format!("{}_file", key.name), &named(file), &path);
        } else if let Some(value) = self.loaded.values.get(&path) {
            self.line(&key.name, &printed(key, value), &path);
        }
    }

    fn repeated(&mut self, section: &Section<'_>) {
        let name = &section.path;
        for (path, table) in tables(self.loaded, name) {
            let _ = writeln!(self.text, "\n[[{name}]]");
            for key in &section.keys {
                if let Some(value) = table.get(&key.name) {
                    self.line(&key.name, &printed(key, value), &join(&path, &key.name));
                }
            }
        }
    }

    fn line(&mut self, name: &str, value: &str, path: &str) {
        let _ = write!(self.text, "{name} = {value}");
        match self.loaded.origins.of(path) {
            Origin::Default => {}
            origin => {
                let _ = write!(self.text, " # {origin}");
            }
        }
        self.text.push('\n');
    }
}
