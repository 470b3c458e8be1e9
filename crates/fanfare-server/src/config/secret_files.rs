//! The `_file` form of every setting that may hold a secret: a file, as an orchestrator mounts one, in the place of the value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::DeValue;

use super::kind::Kind;
use super::merged::Merged;
use super::origin::Problem;
use super::schema::{FILE_SUFFIX, Schema};
use super::types::without_line_ends;

/// The key that `key` was set by, if `files` are those that values were read from.
pub(super) fn set_by(files: &BTreeMap<String, PathBuf>, key: &str) -> String {
    let suffix = if files.contains_key(key) { FILE_SUFFIX } else { "" };
    format!("{key}{suffix}")
}

/// Reads the files that are named, and sets what they hold. The rest of the program finds each secret in one place.
pub(super) fn read(schema: &Schema, merged: &mut Merged) {
    for (path, _) in schema.leaves().into_iter().filter(|(_, key)| key.is_file_form) {
        let Some(Value::String(file)) = merged.values.remove(&path) else {
            continue;
        };
        let target = path.strip_suffix(FILE_SUFFIX).unwrap_or(&path);
        let Some(key) = schema.find(target).filter(|_| !file.is_empty()) else {
            continue;
        };
        let file = PathBuf::from(file);
        let value = if is_set(merged, target) {
            let other = merged.origins.of(target);
            Err(format!(
                "found beside {target} ({other}), expected one of the two"
            ))
        } else {
            value(&key.kind, &file)
        };
        let origin = merged.origins.of(&path).clone();
        match value {
            Ok(value) => {
                merged.set(target, value, origin);
                merged.files.insert(target.to_owned(), file);
            }
            Err(text) => merged.refuse(Problem::new(origin, path, text)),
        }
    }
}

/// Whether a folder of it exists. Otherwise the text may be the secret itself, which is not printed.
fn is_path(file: &Path) -> bool {
    let mut folders = file.ancestors().skip(1);
    folders.any(|folder| folder.parent().is_some() && folder.is_dir())
}

fn is_set(merged: &Merged, key: &str) -> bool {
    let is_empty = match merged.values.get(key) {
        Some(Value::Array(list)) => list.is_empty(),
        _ => merged.text(key).is_empty(),
    };
    merged.is_configured(key) && !is_empty
}

fn value(kind: &Kind, file: &Path) -> Result<Value, String> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|reason| {
        if is_path(file) {
            format!("found {name:?}, which cannot be read: {reason}")
        } else {
            format!("found a text that names no file, expected the path of one: {reason}")
        }
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("found {name:?}, expected a file of text in UTF-8"))?;
    let text = without_line_ends(&text);
    if text.is_empty() {
        return Err(format!("found {name:?}, which is empty, expected a secret"));
    }
    let read = |kind: &Kind, text: &str| {
        let value = kind.scalar(&DeValue::String(text.into()));
        value.map_err(|reason| format!("in {name:?}: {reason}"))
    };
    match kind {
        Kind::List(item) => {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines
                .map(|line| read(item, line))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        kind => read(kind, text),
    }
}
