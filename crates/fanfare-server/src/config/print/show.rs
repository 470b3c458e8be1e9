//! The effective configuration.

use std::fmt::Write as _; // writing to a string cannot fail

use serde::{Deserialize, Serialize};
use toml::Value;
use utoipa::ToSchema;

use super::guarded;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{FILE_SUFFIX, Key, Schema, Section};

/// Returns the effective values as TOML, secrets as `***`, each value that is not a default with its origin.
pub fn show(loaded: &Loaded) -> String {
    let file = loaded.file.as_ref();
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let mut text = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    let default = Origin::Default.to_string();
    let is_default = |setting: &Setting| setting.origin == default;
    for section in Schema::new(loaded.config.registry).sections() {
        let settings = in_force(loaded, &section);
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// `resp.bind`, `listener[0].bind`.
    pub key: String,
    /// As in the file; a secret is ***.
    pub value: String,
    /// The default; null if there is none.
    #[schema(required)]
    pub default: Option<String>,
    /// Whether the value is not the default.
    pub changed: bool,
    /// Its origin: the profile, the line of the file, the environment or the command line; or the reason for this value.
    pub origin: String,
    /// The description of the setting.
    pub doc: String,
}

/// Returns the values in force, in the order of the file, without those that only tests use.
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
    let origin = loaded.origins.of(&path);
    let mut setting = Setting {
        value: guarded(key.kind(), value),
        default: key.default.as_ref().map(|value| guarded(key.kind(), value)),
        changed: false,
        origin: origin.to_string(),
        doc: key.doc().to_owned(),
        key: path,
    };
    if let Some(file) = loaded.files.get(&setting.key) {
        setting.key += FILE_SUFFIX;
        setting.value = Value::from(file.display().to_string()).to_string();
        setting.default = None;
    }
    setting.changed = *origin != Origin::Default && setting.default.as_ref() != Some(&setting.value);
    setting
}
