//! The example file.

use std::fmt::Write as _; // writing to a string cannot fail

use toml::Value;

use super::{guarded, wrapped};
use crate::config::dialect::DialectInfo;
use crate::config::kind::Kind;
use crate::config::profile;
use crate::config::schema::{Key, Schema, join};

const WIDTH: usize = 98;

const HEAD: &str = "\
The configuration of Fanfare. Every setting is here with its default, switched off by a `#` without a space \
behind it; remove that `#` to change the setting. Environment variables beat this file, and flags beat both. \
`fanfare config check` says what is wrong, `fanfare config show` what is in force.";

/// A file with every setting, its documentation and its default. As it stands it changes nothing.
pub fn example(dialects: &[DialectInfo]) -> String {
    let schema = Schema::new(dialects);
    let mut text = String::new();
    comment(&mut text, HEAD);
    let is_value = |key: &&Key| !matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
    for key in schema.keys.iter().filter(is_value) {
        setting(&mut text, key);
    }
    for key in schema.keys.iter().filter(|key| !key.hidden) {
        match &key.kind {
            Kind::Table(keys) => table(&mut text, &key.name, key, keys),
            Kind::Tables(keys) => repeated(&mut text, &schema, dialects, key, keys),
            _ => {}
        }
    }
    text
}

/// A table, and behind its settings the tables in it.
fn table(text: &mut String, path: &str, key: &Key, keys: &[Key]) {
    text.push('\n');
    comment(text, &key.doc);
    let _ = writeln!(text, "[{path}]");
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Table(_))) {
        setting(text, key);
    }
    for key in keys {
        if let Kind::Table(inner) = &key.kind {
            table(text, &join(path, &key.name), key, inner);
        }
    }
}

fn comment(text: &mut String, doc: &str) {
    for line in wrapped(doc, WIDTH) {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
}

fn setting(text: &mut String, key: &Key) {
    text.push('\n');
    comment(text, &key.doc);
    let value = key
        .default
        .as_ref()
        .map(|default| guarded(&key.kind, default))
        .unwrap_or_default();
    let _ = writeln!(text, "#{} = {value}", key.name);
}

/// A repeated table: what its keys are, and then the tables of the default profile.
fn repeated(text: &mut String, schema: &Schema, dialects: &[DialectInfo], key: &Key, keys: &[Key]) {
    text.push('\n');
    comment(text, &key.doc);
    for key in keys {
        let name = match &key.kind {
            Kind::Table(inner) => {
                let inner: Vec<&str> = inner.iter().map(|key| key.name.as_str()).collect();
                format!("{} {{ {} }}", key.name, inner.join(", "))
            }
            _ => key.name.clone(),
        };
        comment(text, &format!("- {name}: {}", key.doc));
    }
    let layer = profile::read(schema, dialects, &[], profile::DEFAULT);
    let tables = layer
        .values
        .iter()
        .find(|(path, ..)| *path == key.name)
        .and_then(|(_, value, _)| value.as_array());
    for table in tables.into_iter().flatten().filter_map(Value::as_table) {
        let _ = writeln!(text, "\n#[[{}]]", key.name);
        for key in keys {
            if let Some(value) = table.get(&key.name) {
                let _ = writeln!(text, "#{} = {value}", key.name);
            }
        }
    }
}

/// The example with every setting switched on, to prove that what it says are the defaults.
#[cfg(test)]
pub(in crate::config) fn switched_on(example: &str) -> String {
    let switch = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    example.lines().map(switch).collect::<Vec<_>>().join("\n")
}
