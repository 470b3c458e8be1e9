//! The effective configuration.

use std::fmt::Write as _; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{FILE_SUFFIX, Key, Schema, Section};

/// Returns the effective values as TOML, secrets as `***`, each value that is not a default with its origin.
pub fn show(loaded: &Loaded) -> String {
    let file = loaded.file.as_ref();
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let mut text = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    for section in Schema::new(loaded.config.registry).sections() {
        let settings = in_force(loaded, &section);
        let is_default = |setting: &Setting| setting.origin == Origin::Default;
        if section.is_hidden() && settings.iter().all(is_default) {
            continue;
        }
        let mut table = match section.key {
            Some(key) if !key.repeats() => {
                let _ = writeln!(text, "\n[{}]", key.path);
                key.path.as_str()
            }
            _ => "",
        };
        for setting in &settings {
            let (of, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
            if of != table {
                let list = of.split('[').next().unwrap_or_default();
                let _ = writeln!(text, "\n[[{list}]]");
                table = of;
            }
            let _ = write!(text, "{name} = {}", setting.value);
            if !is_default(setting) {
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
    /// The default as TOML; `None` if there is none.
    pub default: Option<String>,
    /// The place where it was set.
    pub origin: Origin,
    /// Its documentation.
    pub doc: String,
}

/// The values in force, in the order of the file, without those that only tests use.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let schema = Schema::new(loaded.config.registry);
    let documented = schema.sections().filter(|section| !section.is_hidden());
    documented
        .flat_map(|section| in_force(loaded, &section))
        .collect()
}

fn in_force(loaded: &Loaded, section: &Section<'_>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |path: String, key: &Key, value: Option<&Value>| {
        settings.extend(value.map(|value| setting(loaded, path, key, value)));
    };
    let list = section.key.filter(|key| key.repeats());
    for key in section.keys.iter().filter(|_| list.is_none()) {
        add(key.path.clone(), key, loaded.values.get(&key.path));
    }
    let items = list.and_then(|list| loaded.values.get(&list.path)?.as_array());
    for (index, item) in items.into_iter().flatten().enumerate() {
        for key in &section.keys {
            let path = key.path.replace("[]", &format!("[{index}]"));
            add(path, key, item.get(key.name()));
        }
    }
    settings
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
            key: format!("{}{FILE_SUFFIX}", setting.key),
            value: Value::from(file.display().to_string()).to_string(),
            default: None,
            ..setting
        },
        None => setting,
    }
}
