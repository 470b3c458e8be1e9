//! The settings as data: their names, kinds, docs and defaults, read from the declarations in `model`.
//!
//! The loader, the reference, the example file and the environment names all use this tree, so a setting is declared
//! once.

use std::time::Duration;

use fanfare_core::{DialectKind, LONGEST, Registry, parse_duration, schema_of};
use serde_json::{Value as Json, json};
use toml::Value;

use super::access::ChannelRule;
use super::dialect::DialectConfig;
use super::form::Form;
use super::history::ChannelHistory;
use super::kind::{Key, Kind};
use super::model::{Config, Listener, Tls};

/// The end of the name of a key that names a file with another key's value.
pub(super) const FILE_SUFFIX: &str = "_file";

/// All settings of a build.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) keys: Vec<Key>,
    /// The JSON schema.
    pub(super) json: Json,
}

/// A table of the file with its settings: the top level, `[name]`, `[outer.inner]` or `[[name]]`.
pub(super) struct Section<'a> {
    /// Its name; empty for the top level.
    pub(super) path: String,
    /// `None` for the top level.
    pub(super) key: Option<&'a Key>,
    /// The settings, without the tables in it if those are sections.
    pub(super) keys: Vec<&'a Key>,
}

impl Section<'_> {
    pub(super) fn doc(&self) -> &str {
        self.key.map(|key| key.doc.as_str()).unwrap_or_default()
    }

    pub(super) fn repeats(&self) -> bool {
        self.key.is_some_and(|key| matches!(key.kind, Kind::Tables(_)))
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.key.is_some_and(|key| key.hidden)
    }
}

impl Schema {
    /// The settings of every build and those of these dialects.
    pub(super) fn new(registry: Registry) -> Self {
        let mut json = schema_of::<Config>();
        let mut keys = read_keys(&json, &toml::Table::try_from(specimen()).unwrap_or_default());
        let mut tables = Vec::new();
        for kind in registry.iter() {
            let (key, schema) = dialect_table(kind);
            if !key.hidden {
                json["properties"][kind.name()] = schema;
            }
            tables.push(key);
        }
        // After the listeners, which name the dialects.
        let behind = keys
            .iter()
            .position(|key| matches!(key.kind, Kind::Tables(_)))
            .map_or(0, |at| at + 1);
        keys.splice(behind..behind, tables);
        add_file_forms(&mut keys, &mut json);
        Self { keys, json }
    }

    /// Returns the tables, in the order of the file.
    pub(super) fn sections(&self) -> Vec<Section<'_>> {
        fn walk<'a>(path: String, key: Option<&'a Key>, keys: &'a [Key], sections: &mut Vec<Section<'a>>) {
            let is_setting = |key: &&Key| !matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
            let settings = keys.iter().filter(is_setting).collect();
            let prefix = path.clone();
            sections.push(Section {
                path,
                key,
                keys: settings,
            });
            for key in keys {
                let path = join(&prefix, &key.name);
                match &key.kind {
                    Kind::Table(keys) => walk(path, Some(key), keys, sections),
                    Kind::Tables(keys) => sections.push(Section {
                        path,
                        key: Some(key),
                        keys: keys.iter().collect(),
                    }),
                    _ => {}
                }
            }
        }
        let mut sections = Vec::new();
        walk(String::new(), None, &self.keys, &mut sections);
        sections
    }

    /// Returns every key with a value, with its path. Repeated tables count as one value.
    pub(super) fn leaves(&self) -> Vec<(String, &Key)> {
        let mut leaves = Vec::new();
        for section in self.sections() {
            match section.key {
                Some(key) if section.repeats() => leaves.push((section.path, key)),
                _ => leaves.extend(
                    section
                        .keys
                        .iter()
                        .map(|key| (join(&section.path, &key.name), *key)),
                ),
            }
        }
        leaves
    }

    /// Returns the key of this path.
    pub(super) fn find(&self, path: &str) -> Option<&Key> {
        let mut leaves = self.leaves().into_iter();
        leaves.find(|(known, _)| known == path).map(|(_, key)| key)
    }

    /// Returns a key that has this name in some table.
    pub(super) fn elsewhere(&self, name: &str) -> Option<String> {
        let sections = self.sections().into_iter();
        let mut shown = sections.filter(|section| !section.is_hidden() && !section.repeats());
        shown.find_map(|section| {
            let named = section.keys.iter().find(|key| key.name == name)?;
            Some(join(&section.path, &named.name))
        })
    }
}

/// Returns a path one level deeper.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Returns the environment variable of a key.
pub(super) fn environment_name(path: &str) -> String {
    format!("FANFARE_{}", path.replace('.', "_").to_uppercase())
}

/// Returns a configuration with every key. As TOML, it gives the order of the keys, which a JSON schema does not keep,
/// and the defaults.
fn specimen() -> Config {
    let listener = Listener {
        bind: std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into(),
        dialects: Vec::new(),
        prefix: String::new(),
        tls: Some(Tls {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        }),
        acme: false,
    };
    let rule = ChannelRule {
        pattern: String::new(),
        subscribe: None,
        publish: None,
        join: None,
        history: Some(ChannelHistory {
            size: 1,
            ttl: Duration::from_secs(1),
        }),
    };
    Config {
        listener: vec![listener],
        channel: vec![rule],
        ..Config::default()
    }
}

fn dialect_table(kind: &dyn DialectKind) -> (Key, Json) {
    let declared = kind.defaults();
    let (mut json, mut own) = (schema_of::<DialectConfig>(), declared.options.schema());
    if let (Some(all), Some(own)) = (
        json["properties"].as_object_mut(),
        own["properties"].as_object_mut(),
    ) {
        all.append(own);
    }
    let mut defaults = toml::Table::try_from(DialectConfig::defaults_of(kind)).unwrap_or_default();
    defaults.extend(serde_json::from_str::<toml::Table>(&declared.options.defaults()).unwrap_or_default());
    for (name, default) in &defaults {
        json["properties"][name]["default"] = serde_json::to_value(default).unwrap_or_default();
    }
    json["description"] = Json::from(kind.summary());
    if let Some(object) = json.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    let key = Key {
        name: kind.name().to_owned(),
        doc: kind.summary().to_owned(),
        kind: Kind::Table(read_keys(&json, &defaults)),
        default: None,
        required: false,
        hidden: declared.binds.is_empty(),
        is_file_form: false,
    };
    (key, json)
}

/// Returns the keys of a table in the order of `specimen`.
fn read_keys(json: &Json, specimen: &toml::Table) -> Vec<Key> {
    let required = json["required"].as_array().cloned().unwrap_or_default();
    let read = |(name, value): (&String, &Value)| {
        let schema = &json["properties"][name];
        let required = required.iter().any(|required| required == name);
        let kind = match value {
            Value::Table(inner) => Kind::Table(read_keys(schema, inner)),
            value => match value.get(0) {
                Some(Value::Table(inner)) => Kind::Tables(read_keys(&schema["items"], inner)),
                _ => read_kind(schema, value.as_str() == Some("")),
            },
        };
        let is_table = matches!(kind, Kind::Table(_) | Kind::Tables(_));
        Key {
            name: name.to_owned(),
            doc: schema["description"].as_str().unwrap_or_default().to_owned(),
            default: (!required && !is_table).then(|| value.clone()),
            kind,
            required,
            hidden: false,
            is_file_form: false,
        }
    };
    specimen.iter().map(read).collect()
}

/// Adds `NAME_file` behind each key that may hold a secret, in `keys` and in `json`, their JSON schema.
fn add_file_forms(keys: &mut Vec<Key>, json: &mut Json) {
    let mut all = Vec::with_capacity(keys.len());
    for mut key in keys.drain(..) {
        if let Kind::Table(inner) = &mut key.kind {
            add_file_forms(inner, &mut json["properties"][&key.name]);
        }
        let form = key.kind.guard().map(|_| file_form(&key));
        all.push(key);
        if let Some(form) = form {
            json["properties"][&form.name] =
                json!({ "description": form.doc, "type": "string", "x-kind": "path", "default": "" });
            all.push(form);
        }
    }
    *keys = all;
}

fn file_form(key: &Key) -> Key {
    let lines = match key.kind {
        Kind::List(_) => ", one on each line",
        _ => "",
    };
    Key {
        name: format!("{}{FILE_SUFFIX}", key.name),
        doc: format!("A file that holds `{}`{lines}. Set one of the two.", key.name),
        kind: Kind::Text {
            form: Form::named(Some("path")),
            empty: true,
        },
        default: Some(Value::from("")),
        is_file_form: true,
        ..key.clone()
    }
}

fn read_kind(schema: &Json, default_is_empty: bool) -> Kind {
    if let Some(words) = read_words(schema) {
        return Kind::OneOf(words);
    }
    let bound = |text: &Json| parse_duration(text.as_str()?).ok();
    match schema["type"].as_str() {
        Some("boolean") => Kind::Bool,
        Some("integer") => Kind::Integer {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"].as_i64().unwrap_or(i64::MAX),
        },
        Some("array") => Kind::List(Box::new(read_kind(&schema["items"], false))),
        _ if schema["x-kind"] == "duration" => Kind::Duration {
            min: bound(&schema["x-minimum"]).unwrap_or_default(),
            max: bound(&schema["x-maximum"]).unwrap_or(LONGEST),
        },
        _ => {
            let empty = default_is_empty || schema["x-empty"].as_bool().unwrap_or(false);
            Kind::Text {
                form: Form::named(schema["x-kind"].as_str()),
                empty,
            }
        }
    }
}

/// Returns the words of an enumeration, in either of the forms that a schema uses.
fn read_words(schema: &Json) -> Option<Vec<String>> {
    let text = |value: &Json| value.as_str().map(ToOwned::to_owned);
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(text).collect();
    }
    schema["oneOf"]
        .as_array()?
        .iter()
        .map(|variant| text(&variant["const"]))
        .collect()
}
