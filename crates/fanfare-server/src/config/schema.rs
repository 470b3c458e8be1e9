//! The settings as data: the declarations' names, types, docs and defaults.

use fanfare_core::{DialectKind, Registry, schema_of};
use serde_json::{Value as Json, json};
use toml::de::DeValue;
use toml::{Table, Value};

use super::dialect::DialectConfig;
use super::kind::Kind;
use super::model::Config;
use super::values::{SettingValues, typed};

/// A table of each kind that repeats, with the keys that it requires and the tables that it may have.
const REPEATED: &str = r#"
listener = [{ bind = ":0", dialects = [], tls = { cert = "cert.pem", key = "key.pem" } }]
channel = [{ pattern = "a", history = { size = 1, ttl = "1s" } }]
"#;

/// The end of the name of a key that names a file with another key's value.
pub(super) const FILE_SUFFIX: &str = "_file";

pub(super) struct Schema {
    registry: Registry,
    /// The tables and their settings, in the order of the file.
    keys: Vec<Key>,
    /// A configuration with every key. It gives the order of the keys, which a JSON schema does not keep, and the defaults.
    specimen: Table,
    pub(super) json: Json,
}

#[derive(Debug)]
pub(super) struct Key {
    /// Its place: `auth.leeway`, `listener[].bind`.
    pub(super) path: String,
    schema: Json,
    /// The default; none for tables and for required keys.
    pub(super) default: Option<Value>,
    pub(super) required: bool,
    /// For tests only, and not documented.
    pub(super) hidden: bool,
    /// Names a file that holds another key's value; all of these are documented together.
    pub(super) is_file_form: bool,
}

impl Key {
    pub(super) fn kind(&self) -> Kind<'_> {
        Kind(&self.schema)
    }

    pub(super) fn doc(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    fn table(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    pub(super) fn is_table(&self) -> bool {
        self.schema["type"] == "object"
    }

    /// Returns whether it is a table that repeats, `[[name]]`.
    pub(super) fn repeats(&self) -> bool {
        self.schema["items"]["type"] == "object"
    }

    /// Returns whether it is inside a table that repeats.
    pub(super) fn is_repeated(&self) -> bool {
        self.path.contains("[]")
    }

    /// Returns the path under which its own keys are, if it is a table.
    pub(super) fn inside(&self) -> String {
        format!("{}{}", self.path, if self.repeats() { "[]" } else { "" })
    }
}

/// A table of the file with its settings: the top level, `[name]`, `[outer.inner]` or `[[name]]`.
pub(super) struct Section<'a> {
    /// `None` for the top level.
    pub(super) key: Option<&'a Key>,
    /// The settings, without the tables in it if those are sections.
    pub(super) keys: Vec<&'a Key>,
}

impl Section<'_> {
    pub(super) fn repeats(&self) -> bool {
        self.key.is_some_and(Key::repeats)
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.key.is_some_and(|key| key.hidden)
    }
}

impl Schema {
    /// Returns the settings of every build, and those of these dialects.
    pub(super) fn new(registry: Registry) -> Self {
        let mut schema = Self {
            registry,
            keys: Vec::new(),
            specimen: Table::new(),
            json: schema_of::<Config>(),
        };
        let config: Config = toml::from_str(REPEATED).unwrap_or_default();
        for (name, value) in Table::try_from(config).unwrap_or_default() {
            let before_dialects = name == "listener";
            schema.specimen.insert(name, value);
            if before_dialects {
                for kind in registry.iter() {
                    let (json, defaults) = dialect_table(kind);
                    schema.json["properties"][kind.name] = json;
                    schema.specimen.insert(kind.name.to_owned(), defaults.into());
                }
            }
        }
        read_keys("", &mut schema.json, &schema.specimen, &mut schema.keys);
        for kind in registry.iter().filter(|kind| kind.is_hidden()) {
            for key in schema.keys.iter_mut().filter(|key| key.path == kind.name) {
                key.hidden = true;
            }
            if let Some(tables) = schema.json["properties"].as_object_mut() {
                tables.remove(kind.name);
            }
        }
        schema
    }

    /// Returns the tables, in the order of the file.
    pub(super) fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        let is_section = |key: &&Key| (key.is_table() || key.repeats()) && !key.is_repeated();
        let tables = self.keys.iter().filter(is_section).map(Some);
        std::iter::once(None).chain(tables).map(|key| {
            let inside = key.map(Key::inside).unwrap_or_default();
            let is_setting = |inner: &&Key| inner.is_repeated() || !(inner.is_table() || inner.repeats());
            let keys = self.children(&inside).filter(is_setting).collect();
            Section { key, keys }
        })
    }

    /// Returns every key with a value. Repeated tables count as one value.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Key> {
        let is_leaf = |key: &&Key| !key.is_table() && !key.is_repeated();
        self.keys.iter().filter(is_leaf)
    }

    /// Returns the key with a value that has this path.
    pub(super) fn find(&self, path: &str) -> Option<&Key> {
        self.leaves().find(|key| key.path == path)
    }

    /// Returns the keys of the table at this path, which is empty for the top level.
    pub(super) fn children(&self, table: &str) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.table() == table)
    }

    /// Returns a key that has this name in some table.
    pub(super) fn elsewhere(&self, name: &str) -> Option<&str> {
        let mut shown = self
            .sections()
            .filter(|section| !section.is_hidden() && !section.repeats());
        let key = shown.find_map(|section| section.keys.into_iter().find(|key| key.name() == name));
        key.map(|key| key.path.as_str())
    }

    pub(super) fn defaults(&self) -> SettingValues {
        let mut values = SettingValues::default();
        for key in self.leaves().filter(|key| !key.is_file_form) {
            let default = key.default.clone();
            values.set(&key.path, default.unwrap_or_else(|| Value::Array(Vec::new())));
        }
        values
    }

    /// Checks a value by building a configuration that has only this value. Returns it as the field accepts it, or else
    /// a text with the found and the expected value. `kind` is the type of the key, or of the items of its list.
    pub(super) fn check(&self, key: &Key, kind: Kind<'_>, found: &DeValue<'_>) -> Result<Value, String> {
        let mismatch = |reason: &str| kind.mismatch(found, reason);
        let value = kind.single(found).ok_or_else(|| mismatch(""))?;
        // No field has the form of a file.
        if key.is_file_form {
            return Some(value).filter(Value::is_str).ok_or_else(|| mismatch(""));
        }
        let tried = match key.kind().item() {
            Some(_) => vec![value.clone()].into(),
            None => value.clone(),
        };
        let mut alone = SettingValues::default();
        match key.path.split_once("[].") {
            Some((list, inner)) => {
                let mut item = SettingValues(self.specimen[list][0].as_table().cloned().unwrap_or_default());
                item.set(inner, tried);
                alone.set(list, vec![Value::Table(item.0)]);
            }
            None => alone.set(&key.path, tried),
        }
        let tried = typed(self.registry, alone);
        tried.map(|_| value).map_err(|reason| mismatch(&reason))
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

/// Returns the JSON schema of a dialect's table, and its defaults.
fn dialect_table(kind: &DialectKind) -> (Json, Table) {
    let (mut json, mut own) = (schema_of::<DialectConfig>(), kind.options.schema());
    if let (Some(all), Some(own)) = (
        json["properties"].as_object_mut(),
        own["properties"].as_object_mut(),
    ) {
        all.append(own);
    }
    let mut defaults = Table::try_from(DialectConfig::defaults_of(kind)).unwrap_or_default();
    defaults.extend(serde_json::from_str::<Table>(&kind.options.defaults()).unwrap_or_default());
    for (name, default) in &defaults {
        json["properties"][name]["default"] = serde_json::to_value(default).unwrap_or_default();
    }
    json["description"] = Json::from(kind.summary);
    if let Some(object) = json.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    (json, defaults)
}

/// Reads the keys of a table in the order of `specimen`, its settings before the tables in it. Behind each setting that may
/// hold a secret it adds `NAME_file`, in `json` too.
fn read_keys(table: &str, json: &mut Json, specimen: &Table, keys: &mut Vec<Key>) {
    let is_repeated = table.contains("[]");
    let is_table = |value: &Value| value.is_table() || value.get(0).is_some_and(Value::is_table);
    let (tables, settings): (Vec<_>, Vec<_>) = specimen
        .iter()
        .partition(|(_, value)| is_table(value) && !is_repeated);
    for (name, value) in settings.into_iter().chain(tables) {
        let schema = json["properties"][name].clone();
        let required = json["required"]
            .as_array()
            .is_some_and(|names| names.contains(&json!(name)));
        let key = Key {
            path: join(table, name),
            default: (!required && !is_table(value)).then(|| value.clone()),
            schema,
            required,
            hidden: false,
            is_file_form: false,
        };
        let form = (!is_repeated && key.kind().guard().is_some()).then(|| file_form(&key));
        let inside = key.inside();
        keys.push(key);
        if let Some(form) = form {
            json["properties"][form.name()] = form.schema.clone();
            keys.push(form);
        }
        let schema = &mut json["properties"][name];
        match value {
            Value::Table(inner) => read_keys(&inside, schema, inner, keys),
            Value::Array(items) => {
                if let Some(Value::Table(inner)) = items.first() {
                    read_keys(&inside, &mut schema["items"], inner, keys);
                }
            }
            _ => {}
        }
    }
}

fn file_form(key: &Key) -> Key {
    let name = key.name();
    let lines = key.kind().item().map_or("", |_| ", one on each line");
    let doc = format!("A file that holds `{name}`{lines}. Set one of the two.");
    Key {
        path: format!("{}{FILE_SUFFIX}", key.path),
        schema: json!({ "description": doc, "type": "string", "x-kind": "path", "default": "" }),
        default: Some(Value::from("")),
        required: false,
        hidden: false,
        is_file_form: true,
    }
}
