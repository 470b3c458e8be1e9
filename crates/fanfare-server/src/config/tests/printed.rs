//! The generated files, and the printed configuration.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fanfare_core::{DialectKind, Target};
use serde_json::{Value as Json, json};
use toml::Value;

use super::super::print::switched_on;
use super::super::schema::{Key, Schema, environment_name, join};
use super::super::{Loaded, Origin, Sources, example, json_schema, load, reference, show};
use super::fixture::{large, released};
use super::{load_text, load_with};

/// Compares a generated file with the current output. `UPDATE_EXPECT=1` writes it.
fn is_current(name: &str, generated: &str) {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, generated).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == generated,
        "docs/{name} is out of date: run this test with UPDATE_EXPECT=1"
    );
}

#[test]
fn documents_are_current() {
    let registry = fanfare_dialects::REGISTRY;
    is_current("configuration.md", &reference(registry));
    is_current("fanfare.example.toml", &example(registry));
    is_current("fanfare.schema.json", &json_schema(registry));
}

#[test]
fn every_key_is_documented() {
    for key in Schema::new(large()).leaves() {
        assert!(!key.doc().is_empty(), "{} has no documentation", key.path);
    }
}

/// A dialect's declarations are only text to the compiler: a default may not fit, a key may not exist.
/// Compares the keys of a table, and of the tables in it, with the properties in the JSON schema.
fn has_every_property(schema: &Schema, table: &str, json: &Json) {
    let keys = schema.children(table).filter(|key| !key.hidden);
    let keys: BTreeSet<&str> = keys.map(Key::name).collect();
    let properties = json["properties"].as_object().unwrap();
    assert_eq!(
        keys,
        properties.keys().map(String::as_str).collect(),
        "keys of {table:?}"
    );
    for (name, property) in properties {
        let path = join(table, name);
        if property["type"] == "object" {
            has_every_property(schema, &path, property);
        } else if property["items"]["type"] == "object" {
            has_every_property(schema, &format!("{path}[]"), &property["items"]);
        }
    }
}

/// A field of a table that repeats must also be in the table from which the keys are read.
#[test]
fn every_field_is_a_key() {
    let schema = Schema::new(large());
    has_every_property(&schema, "", &schema.json);
}

#[test]
fn declarations_of_dialects_are_valid() {
    for registry in [fanfare_dialects::REGISTRY, large()] {
        let schema = Schema::new(registry);
        let sources = Sources {
            profile: Some("production".to_owned()),
            env: super::pairs(&[
                ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef"),
                ("FANFARE_AUTH_ALLOWED_ORIGINS", "https://a.example"),
            ]),
            ..Sources::default()
        };
        let production = load(&sources, registry).unwrap();
        let default = load(&Sources::default(), registry).unwrap();
        for kind in registry.iter() {
            let name = kind.name;
            let declared = serde_json::from_str(&kind.options.defaults()).unwrap();
            let options = &default.config.dialects[name].options;
            assert_eq!(*options, kind.options.read(declared).unwrap(), "{name}");
            assert!(kind.options.read(json!({ "nonsense": 1 })).is_err(), "{name}");
            for (key, _) in kind.production {
                assert_ne!(*production.origins.of(key), Origin::Default, "{key}");
            }
            for inherited in kind.inherited {
                if let Target::Key(key) = inherited.target {
                    assert!(schema.find(key).is_some(), "{key}");
                }
            }
        }
    }
}

#[test]
fn environment_names_are_unique() {
    let mut names: Vec<_> = Schema::new(large())
        .leaves()
        .map(|key| environment_name(&key.path))
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

fn values(loaded: &Loaded) -> String {
    format!("{:?}", loaded.config)
}

#[test]
fn the_example_is_the_default() {
    for registry in [released(), large()] {
        let default = load(&Sources::default(), registry).unwrap();
        let text = example(registry);
        let as_it_stands = load_text(&text, &[], registry).unwrap();
        assert_eq!(values(&as_it_stands), values(&default));
        assert!(
            !as_it_stands.is_configured("resp.bind"),
            "a copied example must not configure anything"
        );
        let on = load_text(&switched_on(&text), &[], registry).unwrap();
        assert_eq!(values(&on), values(&default));
        for key in Schema::new(registry).leaves() {
            let path = &key.path;
            let table = path.split('.').next().and_then(|table| registry.find(table));
            let hidden = table.is_some_and(DialectKind::is_hidden);
            // A repeated table without a default is described, and has no value to uncomment.
            let described = key.repeats() && default.values.get(path) == Some(&Value::Array(vec![]));
            let written = !hidden && !described && !key.is_file_form;
            assert_eq!(on.is_configured(path), written, "{path} {key:?}");
        }
    }
}

#[test]
fn shown_values_can_be_loaded_again() {
    let toml = "[chat]\nburst = 5\nroles = [\"a\"]\n[[listener]]\nbind = \"127.0.0.1:0\"\ndialects = [\"chat\"]\n\
                prefix = \"/a\"\ntls = { cert = \"/dev/null\", key = \"/dev/null\" }\n[limits]\n\
                trusted_proxies = [\"10.1.2.3\"]\n[[channel]]\npattern = \"a.{user}\"\nsubscribe = \"owner\"\n";
    let toml = toml.replace("tls = { cert = \"/dev/null\", key = \"/dev/null\" }\n", "");
    let registry = large();
    let loaded = load_text(&toml, &[], registry).unwrap();
    let again = load_text(&show(&loaded), &[], registry).unwrap();
    assert_eq!(values(&again), values(&loaded));
}

#[test]
fn show_prints_origins_and_hides_secrets() {
    let toml = "[auth]\njwt_secret = \"hunter2\"\nallowed_origins = [\"*\"]\n[api]\nkeys = [\"hunter2\", \"hunter2hunter2hunter2\"]\n\
                [[listener]]\nbind = \"127.0.0.1:0\"\ndialects = []\n\
                [listener.tls]\ncert = \"DIR/cert.pem\"\nkey = \"DIR/key.pem\"\n";
    let sources = Sources {
        profile: Some("production".to_owned()),
        env: super::pairs(&[
            ("REDIS_URL", "redis://:hunter2@host:1/0?pass=hunter2"),
            ("FANFARE_RESP_PASSWORD", "hunter2"),
            ("FANFARE_AUTH_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
        ]),
        overrides: super::pairs(&[("log.level", "debug")]),
        ..Sources::default()
    };
    let registry = large();
    let loaded = load_with(toml, sources, registry).unwrap();
    let shown = show(&loaded);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{loaded:?}").contains("hunter2"), "Debug shows a secret");
    let file = loaded.file.as_ref().unwrap().display();
    for line in [
        "# profile: production".to_owned(),
        "jwt_secret = \"***\" # environment FANFARE_AUTH_JWT_SECRET".to_owned(),
        format!("keys = [\"***\", \"***\"] # {file}:5"),
        format!("bind = \"127.0.0.1:0\" # {file}:7"),
        "url = \"redis://***@host:1/0?***\" # environment REDIS_URL".to_owned(),
        "kind = \"redis\" # from the scheme of broker.url".to_owned(),
        "bind = \"\" # off, as the broker is not \"memory\"".to_owned(),
        "password = \"***\" # environment FANFARE_RESP_PASSWORD".to_owned(),
        "level = \"debug\" # --set log.level".to_owned(),
        "access = \"nobody\" # profile production".to_owned(),
        "timeout = \"1800s\"".to_owned(),
    ] {
        assert!(
            shown.lines().any(|found| found == line),
            "no line {line:?} in\n{shown}"
        );
    }
    assert!(!shown.contains("[echo]"), "{shown}");
}

/// The database is in the data folder unless it is configured.
#[test]
fn databases() {
    let check = |toml: &str, expected: &str, warned: &str| {
        let loaded = load_text(toml, &[], released()).unwrap();
        assert_eq!(loaded.config.storage.url.to_string(), expected, "{toml}");
        let shown = show(&loaded);
        assert!(shown.contains(warned) && !shown.contains("hunter2"), "{shown}");
    };
    check(
        "",
        "sqlite://data/fanfare.db",
        "url = \"sqlite://data/fanfare.db\"\n",
    );
    check(
        "data_dir = \"/var/lib/fan fare\"",
        "sqlite:///var/lib/fan%20fare/fanfare.db",
        "fanfare.db\" # in data_dir",
    );
    check(
        "data_dir = \"/var\"\nstorage.url = \"sqlite://../x.db\"",
        "sqlite://../x.db",
        "url = \"sqlite://../x.db\" #",
    );
    check(
        "storage.url = \"postgres://u:hunter2@h/d?password=hunter2\"",
        "postgres://***@h/d?***",
        "url = \"postgres://***@h/d?***\"",
    );
}
