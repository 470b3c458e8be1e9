//! The settings as data: their names, kinds, docs and defaults, read from the declarations in `model`.
//!
//! The loader, the reference, the example file and the environment names all work from this tree, so a setting
//! is typed once.

use fanfare_core::{OptionKind, OptionSpec};
use serde_json::Value as Json;
use toml::Value;

use super::access::ChannelRule;
use super::dialect::{DialectConfig, DialectInfo};
use super::kind::{Form, Kind};
use super::model::{Config, Listener, Tls};
use super::raw::Raw;
use super::types::{LONGEST, parse_duration};

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) kind: Kind,
    /// The default; none for tables, and for what must be set.
    pub(super) default: Option<Value>,
    pub(super) required: bool,
    /// For tests only, and not documented.
    pub(super) hidden: bool,
}

/// All settings of a build.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) keys: Vec<Key>,
    /// The same as a JSON schema.
    pub(super) json: Json,
}

impl Schema {
    /// The settings of every build and those of these dialects.
    pub(super) fn new(dialects: &[DialectInfo]) -> Self {
        let mut json = json_schema::<Config>();
        let mut keys = read_table(&json, &specimen());
        let mut tables = Vec::new();
        for dialect in dialects {
            let (key, schema) = dialect_table(dialect);
            if !dialect.hidden
                && let Some(properties) = json.get_mut("properties").and_then(Json::as_object_mut)
            {
                properties.insert(dialect.name.to_owned(), schema);
            }
            tables.push(key);
        }
        // Behind the listeners, which name the dialects.
        let behind = keys
            .iter()
            .position(|key| matches!(key.kind, Kind::Tables(_)))
            .map_or(0, |at| at + 1);
        keys.splice(behind..behind, tables);
        Self { keys, json }
    }

    /// Every key that takes a value, with its path. Repeated tables count as one value.
    pub(super) fn leaves(&self) -> Vec<(String, &Key)> {
        fn walk<'a>(keys: &'a [Key], prefix: &str, leaves: &mut Vec<(String, &'a Key)>) {
            for key in keys {
                let path = join(prefix, &key.name);
                match &key.kind {
                    Kind::Table(keys) => walk(keys, &path, leaves),
                    _ => leaves.push((path, key)),
                }
            }
        }
        let mut leaves = Vec::new();
        walk(&self.keys, "", &mut leaves);
        leaves
    }

    /// The key of this path.
    pub(super) fn find(&self, path: &str) -> Option<&Key> {
        let mut keys = &self.keys;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let key = keys.iter().find(|key| key.name == part)?;
            match &key.kind {
                Kind::Table(inner) if parts.peek().is_some() => keys = inner,
                Kind::Table(_) => return None,
                _ => return parts.peek().is_none().then_some(key),
            }
        }
        None
    }
}

/// A path one deeper.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// The environment variable of a key.
pub(super) fn environment_name(path: &str) -> String {
    format!("FANFARE_{}", path.replace('.', "_").to_uppercase())
}

fn json_schema<T: schemars::JsonSchema>() -> Json {
    let settings = schemars::generate::SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A configuration in which every key occurs. Written out, it gives the order of the keys, which a JSON schema
/// does not keep, and the defaults.
fn specimen() -> String {
    let listener = Listener {
        bind: std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into(),
        dialects: Vec::new(),
        prefix: String::new(),
        tls: Some(Tls {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        }),
    };
    let rule = ChannelRule {
        pattern: String::new(),
        subscribe: None,
        publish: None,
        join: None,
    };
    let config = Config {
        listener: vec![listener],
        channel: vec![rule],
        ..Config::default()
    };
    toml::to_string(&config).unwrap_or_default()
}

fn dialect_table(dialect: &DialectInfo) -> (Key, Json) {
    let mut json = json_schema::<DialectConfig>();
    json["description"] = Json::from(dialect.doc);
    if let Some(object) = json.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    let defaults = toml::to_string(&dialect.defaults).unwrap_or_default();
    let mut keys = read_table(&json, &defaults);
    for key in &keys {
        if let Some(default) = &key.default {
            json["properties"][&key.name]["default"] = to_json(default);
        }
    }
    for option in dialect.options {
        let (key, schema) = option_key(option);
        json["properties"][option.name] = schema;
        keys.push(key);
    }
    let key = Key {
        name: dialect.name.to_owned(),
        doc: dialect.doc.to_owned(),
        kind: Kind::Table(keys),
        default: None,
        required: false,
        hidden: dialect.hidden,
    };
    (key, json)
}

fn option_key(option: &OptionSpec) -> (Key, Json) {
    let default = Raw::from_toml(option.default).and_then(|raw| match raw {
        Raw::List(items) => Some(Value::Array(
            items.iter().filter_map(|item| item.raw.value()).collect(),
        )),
        raw => raw.value(),
    });
    let (kind, mut schema) = option_kind(option.kind);
    schema["description"] = Json::from(option.doc);
    if let Some(default) = &default {
        schema["default"] = to_json(default);
    }
    let key = Key {
        name: option.name.to_owned(),
        doc: option.doc.to_owned(),
        kind,
        default,
        required: false,
        hidden: false,
    };
    (key, schema)
}

fn option_kind(kind: OptionKind) -> (Kind, Json) {
    let text = |form| Kind::Text { form, empty: false };
    let list = |form| Kind::List(Box::new(text(form)));
    match kind {
        OptionKind::Bool => (Kind::Bool, serde_json::json!({ "type": "boolean" })),
        OptionKind::Integer { min, max } => (
            Kind::Integer { min, max },
            serde_json::json!({ "type": "integer", "minimum": min, "maximum": max }),
        ),
        OptionKind::Duration { min } => (
            text(Form::Duration { min, max: LONGEST }),
            serde_json::json!({ "type": "string", "x-kind": "duration" }),
        ),
        OptionKind::Text => (text(Form::Plain), serde_json::json!({ "type": "string" })),
        OptionKind::Texts => (
            list(Form::Plain),
            serde_json::json!({ "type": "array", "items": { "type": "string" } }),
        ),
        OptionKind::Patterns => (
            list(Form::Pattern),
            serde_json::json!({ "type": "array", "items": { "type": "string", "x-kind": "pattern" } }),
        ),
        OptionKind::OneOf(words) => (
            Kind::OneOf(words.iter().map(|&word| word.to_owned()).collect()),
            serde_json::json!({ "type": "string", "enum": words }),
        ),
    }
}

/// The keys of a table in the order of `specimen`, which is TOML.
fn read_table(json: &Json, specimen: &str) -> Vec<Key> {
    let document = specimen.parse::<toml_edit::DocumentMut>().unwrap_or_default();
    let values = specimen.parse::<toml::Table>().unwrap_or_default();
    read_keys(json, document.as_table(), &values)
}

fn read_keys(json: &Json, order: &dyn toml_edit::TableLike, values: &toml::Table) -> Vec<Key> {
    let required = json["required"].as_array().cloned().unwrap_or_default();
    let mut keys = Vec::new();
    for (name, item) in order.iter() {
        let schema = &json["properties"][name];
        let inner = match values.get(name) {
            Some(Value::Table(table)) => table.clone(),
            Some(Value::Array(tables)) => tables
                .first()
                .and_then(Value::as_table)
                .cloned()
                .unwrap_or_default(),
            _ => toml::Table::new(),
        };
        let (kind, default) = if let Some(table) = item.as_table_like() {
            (Kind::Table(read_keys(schema, table, &inner)), None)
        } else if let Some(table) = item.as_array_of_tables().and_then(|tables| tables.get(0)) {
            (Kind::Tables(read_keys(&schema["items"], table, &inner)), None)
        } else {
            let default = values.get(name).cloned();
            (
                read_kind(schema, default.as_ref().and_then(Value::as_str) == Some("")),
                default,
            )
        };
        let required = required.iter().any(|required| required == name);
        keys.push(Key {
            name: name.to_owned(),
            doc: schema["description"].as_str().unwrap_or_default().to_owned(),
            default: if required { None } else { default },
            kind,
            required,
            hidden: false,
        });
    }
    keys
}

fn read_kind(schema: &Json, default_is_empty: bool) -> Kind {
    if let Some(words) = read_words(schema) {
        return Kind::OneOf(words);
    }
    match schema["type"].as_str() {
        Some("boolean") => Kind::Bool,
        Some("integer") => Kind::Integer {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"].as_i64().unwrap_or(i64::MAX),
        },
        Some("array") => Kind::List(Box::new(read_kind(&schema["items"], false))),
        _ => {
            let empty = default_is_empty || schema["x-empty"].as_bool().unwrap_or(false);
            Kind::Text {
                form: read_form(schema),
                empty,
            }
        }
    }
}

fn read_form(schema: &Json) -> Form {
    let bound = |name: &str| schema[name].as_str().and_then(|text| parse_duration(text).ok());
    match schema["x-kind"].as_str() {
        Some("duration") => Form::Duration {
            min: bound("x-minimum").unwrap_or_default(),
            max: bound("x-maximum").unwrap_or(LONGEST),
        },
        Some("address") => Form::Address,
        Some("network") => Form::Network,
        Some("path") => Form::Path,
        Some("pattern") => Form::Pattern,
        Some("secret") => Form::Secret,
        Some("url") => Form::Url,
        Some("database") => Form::Database,
        _ => Form::Plain,
    }
}

/// The words of an enumeration, in either of the forms in which a schema has them.
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

fn to_json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or(Json::Null)
}
